// --print-config: the settings as a configuration file that says the same.
#pragma once

#include <string>

namespace flame {
struct ServerConfig;  // flame/config/server_config.h

/// YAML with a line for each setting and a comment on where it comes from; settings
/// without a value are comments.
std::string PrintConfig(const ServerConfig& config);

}  // namespace flame
