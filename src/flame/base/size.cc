#include "flame/base/size.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {
namespace {

constexpr std::string_view kUnits = "BKMGTP";  // The n-th is 1024^n bytes.
constexpr std::string_view kForms = "write 1073741824, 1G, 1.5GiB or the like";

arrow::Status BadSize(std::string_view text, std::string_view why) {
  return InvalidError(fmt::format("'{}' is not a size: {}; {}", text, why, kForms));
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// False when `digits` is more than 64 bits hold. No digits are 0.
bool ParseWhole(std::string_view digits, uint64_t* value) {
  *value = 0;
  if (digits.empty()) return true;
  const char* end = digits.data() + digits.size();
  return std::from_chars(digits.data(), end, *value).ec == std::errc();
}

/// 0 = not a unit.
uint64_t UnitBytes(std::string_view name) {
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return std::toupper(c); });
  if (upper.empty()) return 0;
  const size_t power = kUnits.find(upper[0]);
  if (power == std::string_view::npos) return 0;
  const std::string_view rest = std::string_view(upper).substr(1);
  const bool known =
      rest.empty() || (power > 0 && (rest == "B" || rest == "I" || rest == "IB"));
  return known ? uint64_t{1} << (10 * power) : 0;
}

/// floor(0.digits * unit), exactly: floors nest, so each step may round down.
uint64_t FractionOf(std::string_view digits, uint64_t unit) {
  uint64_t bytes = 0;
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit) {
    bytes = ((*digit - '0') * unit + bytes) / 10;
  }
  return bytes;
}

}  // namespace

arrow::Result<uint64_t> ParseSize(std::string_view text) {
  const std::string_view trimmed = Trim(text);
  if (trimmed.empty()) return BadSize(text, "it is empty");

  std::string_view plain = trimmed;
  if (plain.front() == '+') plain.remove_prefix(1);
  if (!plain.empty() && std::all_of(plain.begin(), plain.end(), IsDigit)) {
    uint64_t bytes = 0;
    if (!ParseWhole(plain, &bytes)) return BadSize(text, "it is too large");
    return bytes;
  }

  const size_t number_end =
      std::min(trimmed.find_first_not_of("0123456789."), trimmed.size());
  const std::string_view number = trimmed.substr(0, number_end);
  const std::string_view unit_name = Trim(trimmed.substr(number_end));
  const size_t point = std::min(number.find('.'), number.size());
  const std::string_view whole = number.substr(0, point);
  const std::string_view fraction =
      point < number.size() ? number.substr(point + 1) : std::string_view{};
  if (fraction.find('.') != std::string_view::npos ||
      (whole.empty() && fraction.empty())) {
    return BadSize(text, "it does not start with a number");
  }
  if (unit_name.empty()) return BadSize(text, "a fraction needs a unit");
  const uint64_t unit = UnitBytes(unit_name);
  if (unit == 0) {
    return BadSize(
        text, fmt::format("'{}' is not one of the units B, K, M, G, T, P", unit_name));
  }

  uint64_t count = 0;
  uint64_t bytes = 0;
  if (!ParseWhole(whole, &count) || __builtin_mul_overflow(count, unit, &bytes) ||
      __builtin_add_overflow(bytes, FractionOf(fraction, unit), &bytes)) {
    return BadSize(text, "it is too large");
  }
  return bytes;
}

std::string FormatSize(uint64_t bytes) {
  size_t power = 0;
  while (bytes != 0 && bytes % 1024 == 0 && power + 1 < kUnits.size()) {
    bytes /= 1024;
    ++power;
  }
  return power == 0 ? fmt::format("{}", bytes)
                    : fmt::format("{}{}", bytes, kUnits[power]);
}

}  // namespace flame
