// Errors are arrow::Status with one of our codes in the detail. Libraries' errors
// (RocksDB, errno) are translated into these where they enter; ours are translated to
// Flight's and Python's where they leave. An ordinary outcome (a miss, not modified) is a
// value, never an error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <arrow/result.h>
#include <arrow/status.h>

namespace flame {

/// What went wrong, for programs. docs/internals/wire.md gives each its words on the
/// wire.
enum class ErrorCode {
  kInvalid,    // Malformed key, ticket, descriptor, schema, data or configuration.
  kNotFound,   // A patch or a named read of an object that is not there.
  kConflict,   // if_version did not match; `version` is the newest.
  kWrongKind,  // Opaque patch on a native object, append on an opaque one or of another
               // schema.
  kTooLarge,   // Over a limit, or over what the client's format can carry.
  kTooManyPatches,  // Per object; see Limits.
  kExhausted,       // Memory budget or disk space.
  kReadOnly,        // The disk refuses writes.
  kCorrupt,         // Stored bytes do not match their checksum.
  kIo,              // The disk failed.
  kUnknownOutcome,  // A retry that can no longer be decided.
  kUnavailable,     // Shutting down.
  kTimeout,         // The request's deadline passed.
  kCancelled,       // The caller went away.
  kDenied,          // Authorize() said no.
  kStale,           // Internal: what was found has been replaced meanwhile; look again.
  kNotOwner,        // Reserved for the cluster.
  kNotReady,        // Reserved for the cluster.
  kLost,            // Reserved for the cluster.
};
inline constexpr size_t kErrorCodes = static_cast<size_t>(ErrorCode::kLost) + 1;

/// Whether a failed write can have taken effect.
enum class Outcome { kNotApplied, kUnknown };

/// The detail of every Status that we make.
class ErrorDetail final : public arrow::StatusDetail {
 public:
  explicit ErrorDetail(ErrorCode code, std::optional<Outcome> outcome = {},
                       std::optional<int64_t> version = {})
      : code(code), outcome(outcome), version(version) {}
  const char* type_id() const override;
  std::string ToString() const override;

  const ErrorCode code;
  const std::optional<Outcome> outcome;  // Failed writes only.
  // kConflict only: the newest version, 0 = absent.
  const std::optional<int64_t> version;
};

/// The word for `code` on the wire, in logs and metrics: "not_found".
std::string_view ErrorCodeName(ErrorCode code);
std::optional<ErrorCode> ErrorCodeFromName(std::string_view name);
std::string_view OutcomeName(Outcome outcome);

/// A Status with `code`. The arrow::StatusCode is the nearest one, so that Arrow's own
/// callers see sense.
arrow::Status MakeError(ErrorCode code, std::string message);
arrow::Status InvalidError(std::string message);
arrow::Status ConflictError(std::string_view key, int64_t expected, int64_t newest);
/// From errno after a system call on `what`; ENOSPC and EDQUOT are kExhausted, EROFS is
/// kReadOnly.
arrow::Status ErrnoError(int error, std::string_view doing, std::string_view what);
/// The same Status with `outcome` in its detail. OK stays OK.
arrow::Status WithOutcome(const arrow::Status& status, Outcome outcome);
/// The same unless `status` already says its outcome.
arrow::Status WithDefaultOutcome(const arrow::Status& status, Outcome outcome);

/// Our code in `status`; a Status made elsewhere gets the nearest one. REQUIRES:
/// !status.ok().
ErrorCode CodeOf(const arrow::Status& status);
inline bool IsError(const arrow::Status& status, ErrorCode code) {
  return !status.ok() && CodeOf(status) == code;
}
const ErrorDetail* DetailOf(const arrow::Status& status);

}  // namespace flame
