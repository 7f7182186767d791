#include "flame/config/nearest_name.h"

#include <algorithm>

namespace flame {

int EditDistance(std::string_view a, std::string_view b) {
  // Rows of the table of distances between prefixes: before the last, last, current.
  std::vector<int> older(b.size() + 1), last(b.size() + 1), current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substituted = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({substituted, last[j] + 1, current[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], older[j - 2] + 1);
      }
    }
    older.swap(last);
    last.swap(current);
  }
  return last[b.size()];
}

std::string_view NearestName(std::string_view name,
                             const std::vector<std::string_view>& names) {
  return *std::min_element(names.begin(), names.end(),
                           [&](std::string_view a, std::string_view b) {
                             return EditDistance(name, a) < EditDistance(name, b);
                           });
}

}  // namespace flame
