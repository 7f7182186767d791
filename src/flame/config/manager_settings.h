// The table of settings of flame-session-manager. One row is all there is to say about
// one: flags, environment variables, YAML keys, --help, --print-config and the test of
// the manual follow from it. To add a setting, add a field to ManagerConfig and a row.
#pragma once

#include <span>
#include <string_view>

#include <arrow/status.h>

namespace flame {
class Host;            // flame/config/host.h
struct ManagerConfig;  // flame/config/manager_config.h

struct ManagerSetting {
  std::string_view path;   // In the file: "cluster.limits.max_sessions".
  std::string_view flag;   // "--max-sessions"
  std::string_view env;    // "FLAME_SESSION_MAX_SESSIONS"
  std::string_view value;  // Its form, for people; empty = a switch, on or off.
  std::string_view usual;  // The default: its exact text, or words, which have a space.
  std::string_view help;
  /// Understand `text`. On an error `config` is as before or half changed; nobody looks.
  arrow::Status (*parse)(std::string_view text, const Host& host, ManagerConfig* config);

  /// "max_sessions"
  std::string_view key() const { return path.substr(path.rfind('.') + 1); }
  bool is_switch() const { return value.empty(); }
  /// The default as it can be written; empty = there is none.
  std::string_view usual_text() const {
    return usual.find(' ') == usual.npos ? usual : std::string_view();
  }
};

std::span<const ManagerSetting> ManagerSettings();

}  // namespace flame
