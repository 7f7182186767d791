#include "flame/config/duration.h"

#include <array>
#include <charconv>
#include <cstdint>

#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {
namespace {

struct Unit {
  std::string_view name;
  int64_t milliseconds;
};
constexpr std::array kUnits{Unit{"h", 3'600'000}, Unit{"m", 60'000},     Unit{"s", 1'000},
                            Unit{"ms", 1},        Unit{"d", 86'400'000}, Unit{"", 1'000}};

}  // namespace

arrow::Result<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  int64_t count = 0;
  const char* const end = text.data() + text.size();
  const auto [unit_begin, error] = std::from_chars(text.data(), end, count);
  if (error == std::errc() && count >= 0) {
    const std::string_view name(unit_begin, end - unit_begin);
    for (const Unit& unit : kUnits) {
      int64_t milliseconds = 0;
      if (unit.name == name &&
          !__builtin_mul_overflow(count, unit.milliseconds, &milliseconds)) {
        return std::chrono::milliseconds(milliseconds);
      }
    }
  }
  return InvalidError(
      fmt::format("'{}' is not a duration; write 500ms, 10s, 5m, 24h or 7d", text));
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  for (const Unit& unit : kUnits) {
    if (duration.count() % unit.milliseconds == 0 && duration.count() != 0) {
      return fmt::format("{}{}", duration.count() / unit.milliseconds, unit.name);
    }
  }
  return "0s";
}

}  // namespace flame
