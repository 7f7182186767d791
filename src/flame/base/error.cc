#include "flame/base/error.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace flame {
namespace {

struct CodeRow {
  ErrorCode code;
  std::string_view name;
  arrow::StatusCode nearest;
};

constexpr std::array kCodes{
    CodeRow{ErrorCode::kInvalid, "invalid", arrow::StatusCode::Invalid},
    CodeRow{ErrorCode::kNotFound, "not_found", arrow::StatusCode::KeyError},
    CodeRow{ErrorCode::kConflict, "conflict", arrow::StatusCode::AlreadyExists},
    CodeRow{ErrorCode::kWrongKind, "wrong_kind", arrow::StatusCode::Invalid},
    CodeRow{ErrorCode::kTooLarge, "too_large", arrow::StatusCode::Invalid},
    CodeRow{ErrorCode::kTooManyPatches, "too_many_patches", arrow::StatusCode::Invalid},
    CodeRow{ErrorCode::kExhausted, "exhausted", arrow::StatusCode::OutOfMemory},
    CodeRow{ErrorCode::kReadOnly, "read_only", arrow::StatusCode::IOError},
    CodeRow{ErrorCode::kCorrupt, "corrupt", arrow::StatusCode::IOError},
    CodeRow{ErrorCode::kIo, "io", arrow::StatusCode::IOError},
    CodeRow{ErrorCode::kUnknownOutcome, "unknown_outcome",
            arrow::StatusCode::UnknownError},
    CodeRow{ErrorCode::kUnavailable, "unavailable", arrow::StatusCode::UnknownError},
    CodeRow{ErrorCode::kTimeout, "timeout", arrow::StatusCode::UnknownError},
    CodeRow{ErrorCode::kCancelled, "cancelled", arrow::StatusCode::Cancelled},
    CodeRow{ErrorCode::kDenied, "denied", arrow::StatusCode::UnknownError},
    CodeRow{ErrorCode::kStale, "stale", arrow::StatusCode::UnknownError},
    CodeRow{ErrorCode::kNotOwner, "not_owner", arrow::StatusCode::UnknownError},
    CodeRow{ErrorCode::kNotReady, "not_ready", arrow::StatusCode::UnknownError},
    CodeRow{ErrorCode::kLost, "lost", arrow::StatusCode::UnknownError},
};

const CodeRow& RowOf(ErrorCode code) { return kCodes[static_cast<size_t>(code)]; }
static_assert(kCodes.size() == kErrorCodes && kCodes.back().code == ErrorCode::kLost);

constexpr char kTypeId[] = "flame::ErrorDetail";

}  // namespace

const char* ErrorDetail::type_id() const { return kTypeId; }

std::string ErrorDetail::ToString() const {
  std::string text(ErrorCodeName(code));
  if (version) text += fmt::format(" version={}", *version);
  if (outcome) text += fmt::format(" outcome={}", OutcomeName(*outcome));
  return text;
}

std::string_view ErrorCodeName(ErrorCode code) { return RowOf(code).name; }

std::optional<ErrorCode> ErrorCodeFromName(std::string_view name) {
  for (const CodeRow& row : kCodes) {
    if (row.name == name) return row.code;
  }
  return std::nullopt;
}

std::string_view OutcomeName(Outcome outcome) {
  return outcome == Outcome::kNotApplied ? "not_applied" : "unknown";
}

arrow::Status MakeError(ErrorCode code, std::string message) {
  return {RowOf(code).nearest, std::move(message), std::make_shared<ErrorDetail>(code)};
}

arrow::Status InvalidError(std::string message) {
  return MakeError(ErrorCode::kInvalid, std::move(message));
}

arrow::Status ConflictError(std::string_view key, int64_t expected, int64_t newest) {
  const std::string want =
      expected == 0 ? "expected no object" : fmt::format("expected v{}", expected);
  const std::string have =
      newest == 0 ? "there is none" : fmt::format("the newest is v{}", newest);
  return {
      RowOf(ErrorCode::kConflict).nearest,
      fmt::format("{}: {}, {}; read it again and retry", key, want, have),
      std::make_shared<ErrorDetail>(ErrorCode::kConflict, Outcome::kNotApplied, newest)};
}

arrow::Status ErrnoError(int error, std::string_view doing, std::string_view what) {
  ErrorCode code = ErrorCode::kIo;
  std::string next;
  if (error == ENOSPC || error == EDQUOT) {
    code = ErrorCode::kExhausted;
    next = "; free space on the storage's disk and retry";
  } else if (error == EROFS) {
    code = ErrorCode::kReadOnly;
    next = "; remount the storage's disk for writing";
  } else if (error == EACCES || error == EPERM) {
    next = "; the server's user needs access";
  }
  return MakeError(code,
                   fmt::format("{} {}: {}{}", doing, what, std::strerror(error), next));
}

arrow::Status WithOutcome(const arrow::Status& status, Outcome outcome) {
  if (status.ok()) return status;
  const ErrorDetail* detail = DetailOf(status);
  return status.WithDetail(std::make_shared<ErrorDetail>(
      CodeOf(status), outcome, detail ? detail->version : std::nullopt));
}

arrow::Status WithDefaultOutcome(const arrow::Status& status, Outcome outcome) {
  const ErrorDetail* detail = DetailOf(status);
  return detail != nullptr && detail->outcome ? status : WithOutcome(status, outcome);
}

const ErrorDetail* DetailOf(const arrow::Status& status) {
  const auto& detail = status.detail();
  if (detail == nullptr || detail->type_id() != kTypeId) return nullptr;
  return static_cast<const ErrorDetail*>(detail.get());
}

ErrorCode CodeOf(const arrow::Status& status) {
  if (const ErrorDetail* detail = DetailOf(status)) return detail->code;
  switch (status.code()) {
    case arrow::StatusCode::KeyError:
      return ErrorCode::kNotFound;
    case arrow::StatusCode::OutOfMemory:
    case arrow::StatusCode::CapacityError:
      return ErrorCode::kExhausted;
    case arrow::StatusCode::Cancelled:
      return ErrorCode::kCancelled;
    case arrow::StatusCode::IOError:
    case arrow::StatusCode::UnknownError:
      return ErrorCode::kIo;
    default:
      return ErrorCode::kInvalid;
  }
}

}  // namespace flame
