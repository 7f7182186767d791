#include "flame/session/expand.h"

namespace flame {
namespace {

bool StartsName(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool IsInName(char c) { return StartsName(c) || (c >= '0' && c <= '9'); }

/// The variable at the start of `text`, which starts with a dollar.
struct Variable {
  std::string_view name;  // Empty = there is none.
  size_t size = 0;        // Of all that stands for it.
};
Variable VariableAt(std::string_view text) {
  const bool braced = text.size() > 1 && text[1] == '{';
  const size_t start = braced ? 2 : 1;
  size_t end = start;
  while (end < text.size() &&
         (end == start ? StartsName(text[end]) : IsInName(text[end])))
    ++end;
  if (end == start || (braced && (end == text.size() || text[end] != '}'))) return {};
  return {text.substr(start, end - start), braced ? end + 1 : end};
}

}  // namespace

Expanded ExpandVariables(std::string_view text, const EnvironmentMap& variables) {
  Expanded result;
  while (!text.empty()) {
    const size_t dollar = std::min(text.find('$'), text.size());
    result.text += text.substr(0, dollar);
    text.remove_prefix(dollar);
    if (text.empty()) break;
    const Variable variable = VariableAt(text);
    const size_t size = variable.name.empty() ? 1 : variable.size;
    const auto found = variables.find(variable.name);
    if (!variable.name.empty() && found != variables.end()) {
      result.text += found->second;
    } else {
      if (!variable.name.empty()) result.complete = false;
      result.text += text.substr(0, size);
    }
    text.remove_prefix(size);
  }
  return result;
}

}  // namespace flame
