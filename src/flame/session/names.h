// What may be the name of an application or the id of a session or task: names become
// parts of paths and keys.
#pragma once

#include <cstdint>
#include <string_view>

#include <arrow/result.h>

namespace flame {

/// 1 to 253 of A-Z a-z 0-9 . _ -, not starting with . or -, without "..".
arrow::Status CheckApplicationName(std::string_view name);
/// 1 to 256 bytes of UTF-8 without NUL, / and \, not starting with a dot.
arrow::Status CheckSessionId(std::string_view id);
/// The number of a task; 0 for a number that no task has.
arrow::Result<uint64_t> ParseTaskId(std::string_view id);

}  // namespace flame
