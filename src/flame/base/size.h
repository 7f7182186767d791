// Sizes as people write them: "512M", "1.5 GiB", "65536". Every unit is a power of 1024,
// and what was written is what counts: no rounding on the way in or out.
//
//   size   := ws* ( digits | number ws* unit ) ws*      digits: plain bytes, may start
//   with '+' number := [0-9.]+                                   with at most one point
//   and at least one digit unit   := B | K KB KI KIB | M MB MI MIB | G ... | T ... | P
//   ...      in any case
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <arrow/result.h>

namespace flame {

/// Bytes, rounded down. kInvalid for anything else than the grammar above and for more
/// than 64 bits hold.
arrow::Result<uint64_t> ParseSize(std::string_view text);

/// The shortest exact form: "1G", "1536M", "1000". ParseSize(FormatSize(n)) == n.
std::string FormatSize(uint64_t bytes);

}  // namespace flame
