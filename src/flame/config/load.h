// From the command line, the environment and a file to a ServerConfig. A flag beats the
// environment, that beats the file, and that the default.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "flame/config/host.h"
#include "flame/config/server_config.h"

namespace flame {

/// Nothing is to be run: print `text` and exit.
struct Exit {
  int code = 0;      // 0 asked for; 1 configuration error; 2 bad command line.
  std::string text;  // For standard output if `code` is 0, else for standard error. Ends
                     // with a newline.
};

/// Run with this configuration, or exit.
using Startup = std::variant<ServerConfig, Exit>;

/// `arguments` without the program's name; `version` is the program's. Reads at most one
/// file and creates nothing.
Startup LoadServerConfig(const std::vector<std::string>& arguments,
                         std::string_view version, const Host& host);

/// For a program that hosts a cache: what the section `cache` of `file` (empty = there is
/// none) and the environment say; `endpoint` (empty = not given) beats both.
arrow::Result<ServerConfig> LoadHostedConfig(const std::string& file,
                                             const std::string& endpoint,
                                             const Host& host);

}  // namespace flame
