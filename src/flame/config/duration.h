// Durations as people write them: "10s", "500ms", "24h".
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include <arrow/result.h>

namespace flame {

/// A whole number and ms, s, m, h or d; a number alone is seconds. kInvalid for anything
/// else.
arrow::Result<std::chrono::milliseconds> ParseDuration(std::string_view text);
/// The shortest exact form: "90s", "24h".
std::string FormatDuration(std::chrono::milliseconds duration);

}  // namespace flame
