#include "flame/config/memory_limit.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string_view>

namespace flame {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

/// `max`, and version 1's way to say it (a huge number), are no limit.
int64_t ReadLimit(const std::filesystem::path& file) {
  std::string text;
  if (!(std::ifstream(file) >> text)) return kNoLimit;
  int64_t limit = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), limit);
  return error == std::errc() && end == text.data() + text.size() ? limit : kNoLimit;
}

int64_t SmallestLimit(const std::string& mount, std::filesystem::path group,
                      const char* file) {
  int64_t limit = kNoLimit;
  while (true) {
    limit = std::min(limit, ReadLimit(mount / group.relative_path() / file));
    if (group.relative_path().empty()) return limit;
    group = group.parent_path();
  }
}

}  // namespace

int64_t ControlGroupMemoryLimit(const std::string& root) {
  // Lines are ID:CONTROLLERS:PATH; version 2's has no controllers.
  int64_t limit = kNoLimit;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers =
        "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") {
      limit = std::min(limit, SmallestLimit(root + "/sys/fs/cgroup", path, "memory.max"));
    } else if (controllers.find(",memory,") != std::string::npos) {
      limit = std::min(limit, SmallestLimit(root + "/sys/fs/cgroup/memory", path,
                                            "memory.limit_in_bytes"));
    }
  }
  return limit;
}

}  // namespace flame
