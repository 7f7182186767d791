// The nearest of the known names to a mistyped one, for error messages.
#pragma once

#include <string_view>
#include <vector>

namespace flame {

/// Insertions, deletions, substitutions and swaps of neighbours that lead from `a` to
/// `b`.
int EditDistance(std::string_view a, std::string_view b);
/// The first of the `names` at the smallest distance from `name`. REQUIRES: there are
/// names.
std::string_view NearestName(std::string_view name,
                             const std::vector<std::string_view>& names);

}  // namespace flame
