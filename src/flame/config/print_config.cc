#include "flame/config/print_config.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <string_view>

#include <fmt/format.h>

#include "flame/config/server_config.h"
#include "flame/config/settings.h"

namespace flame {
namespace {

/// Words that some YAML readers take for something else than text.
constexpr std::array<std::string_view, 9> kWords{"null", "true", "false", "yes", "no",
                                                 "on",   "off",  "y",     "n"};

}  // namespace

std::string EscapedText(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte < 0x20 || byte == 0x7F) {
      escaped += fmt::format("\\x{:02x}", byte);
    } else {
      if (c == '"' || c == '\\') escaped += '\\';
      escaped += c;
    }
  }
  return escaped;
}

std::string YamlScalar(const std::string& text) {
  const bool plain =
      !text.empty() &&
      (std::isalnum(static_cast<unsigned char>(text[0])) || text[0] == '/') &&
      text.back() != ':' && std::all_of(text.begin(), text.end(), [](unsigned char c) {
        return std::isalnum(c) ||
               std::string_view("-_./:+@=,").find(c) != std::string_view::npos;
      });
  const bool word = std::find(kWords.begin(), kWords.end(), text) != kWords.end();
  return plain && !word ? text : fmt::format("\"{}\"", EscapedText(text));
}

constexpr size_t kCommentColumn = 48;

std::string PrintConfig(const ServerConfig& config) {
  std::string text;
  for (const std::string& warning : config.warnings)
    text += fmt::format("# warning: {}\n", EscapedText(warning));
  text += "cache:\n";
  std::string_view section = "cache";
  for (const Setting& setting : Settings()) {
    const std::string_view parent = setting.path.substr(0, setting.path.rfind('.'));
    if (parent != section && parent != "cache") {
      text += fmt::format("  {}:\n", parent.substr(parent.rfind('.') + 1));
    }
    section = parent;
    const std::string_view indent = parent == "cache" ? "  " : "    ";
    const auto value = setting.print(config);
    std::string line =
        value ? fmt::format("{}{}: {}", indent, setting.key(), YamlScalar(*value))
              : fmt::format("{}# {}: not set", indent, setting.key());
    line.resize(std::max(line.size() + 2, kCommentColumn), ' ');
    text += fmt::format("{}# {}\n", line,
                        EscapedText(config.SourceOf(setting.path).ToString()));
  }
  return text;
}

}  // namespace flame
