// --print-config: the settings as a configuration file that says the same.
#pragma once

#include <string>
#include <string_view>

namespace flame {
struct ServerConfig;  // flame/config/server_config.h

/// YAML with a line for each setting and a comment on where it comes from; settings
/// without a value are comments.
std::string PrintConfig(const ServerConfig& config);

/// `text` as a YAML value that reads as the same text.
std::string YamlScalar(const std::string& text);
/// For within double quotes, or in a comment: on one line.
std::string EscapedText(std::string_view text);

}  // namespace flame
