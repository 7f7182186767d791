// The table of settings. One row is all there is to say about one: flags, environment
// variables, YAML keys, --help,
// --print-config and the tests of the manual follow from it. To add a setting, add a
// field to ServerConfig and a row.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <arrow/status.h>

namespace flame {
class Host;           // flame/config/host.h
struct ServerConfig;  // flame/config/server_config.h

struct Setting {
  std::string_view path;   // In the file: "cache.eviction.max_memory".
  std::string_view flag;   // "--max-memory"
  std::string_view env;    // "FLAME_CACHE_MAX_MEMORY"
  std::string_view value;  // Its form, for people: "SIZE".
  std::string_view group;  // Heading in --help.
  std::string_view usual;  // The default: its exact text, or in words for one that
                           // depends on the machine.
  std::string_view help;
  /// Understand `text`. On an error `config` is as before or half changed; nobody looks.
  arrow::Status (*parse)(std::string_view text, const Host& host, ServerConfig* config);
  /// The value as `parse` reads it; nullopt when nothing is set.
  std::optional<std::string> (*print)(const ServerConfig& config);
  /// A variable that other programs read too (or an older name). `env` beats it, and a
  /// value of it that cannot be understood is a warning, not an error.
  std::string_view shared_env = {};
  std::string_view old_path = {};    // A key of older documents that means this one.
  std::string_view other_flag = {};  // A second name of the flag.

  /// "max_memory"
  std::string_view key() const { return path.substr(path.rfind('.') + 1); }
};

std::span<const Setting> Settings();

}  // namespace flame
