// ${NAME} and $NAME in the command line and environment of a service.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace flame {

using EnvironmentMap = std::map<std::string, std::string, std::less<>>;

struct Expanded {
  std::string text;
  bool complete = true;  // Every variable was known.
};

/// A name is a letter or _ and then letters, digits and _. Unknown variables, and dollars
/// that start no variable, stay as they are written. Values are not expanded again.
Expanded ExpandVariables(std::string_view text, const EnvironmentMap& variables);

}  // namespace flame
