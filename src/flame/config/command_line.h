// The command line of flame-object-cache: one flag per setting, and a few that are not
// settings.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

namespace flame {

struct CommandLine {
  std::map<std::string, std::string, std::less<>> values;  // By setting path.
  std::optional<std::string> config_file;
  bool no_file = false;  // Not even the default one; the program's own doing.
  bool help = false;
  bool version = false;
  bool print_config = false;
};

/// `arguments` without the program's name. kInvalid, naming the nearest flag, for what is
/// unknown. A flag that is given twice has its last value.
arrow::Result<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments);

/// The text of --help.
std::string HelpText(std::string_view version);

}  // namespace flame
