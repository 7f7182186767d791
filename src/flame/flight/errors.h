// Our errors as Flight's: the one place where they are translated outward.
#pragma once

#include <string_view>

#include <arrow/status.h>

namespace flame {

/// `status` with the gRPC code that docs/internals/wire.md gives its ErrorCode, and the
/// machine-readable tag at the end of its message. OK stays OK. Statuses made by Arrow (a
/// malformed IPC message) become kInvalid.
arrow::Status ToFlight(const arrow::Status& status);

}  // namespace flame
