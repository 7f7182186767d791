#include "flame/flight/errors.h"

#include <arrow/flight/types.h>
#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {

arrow::Status ToFlight(const arrow::Status& status) {
  using arrow::flight::FlightStatusCode;
  using arrow::flight::MakeFlightError;
  if (status.ok()) return status;
  if (arrow::flight::FlightStatusDetail::UnwrapStatus(status) != nullptr) return status;
  const ErrorCode code = CodeOf(status);
  std::string tag(ErrorCodeName(code));
  if (const ErrorDetail* detail = DetailOf(status)) tag = detail->ToString();
  std::string message = fmt::format("{} [flame:{}]", status.message(), tag);
  switch (code) {
    case ErrorCode::kInvalid:
    case ErrorCode::kWrongKind:
    case ErrorCode::kTooLarge:
    case ErrorCode::kTooManyPatches:
      return arrow::Status::Invalid(message);
    case ErrorCode::kNotFound:
      return arrow::Status::KeyError(message);
    case ErrorCode::kConflict:
      return arrow::Status::AlreadyExists(message);
    case ErrorCode::kExhausted:
    case ErrorCode::kReadOnly:
    case ErrorCode::kUnavailable:
    case ErrorCode::kNotOwner:
    case ErrorCode::kNotReady:
    case ErrorCode::kLost:
      return MakeFlightError(FlightStatusCode::Unavailable, std::move(message));
    case ErrorCode::kTimeout:
      return MakeFlightError(FlightStatusCode::TimedOut, std::move(message));
    case ErrorCode::kCancelled:
      return MakeFlightError(FlightStatusCode::Cancelled, std::move(message));
    case ErrorCode::kDenied:
      return MakeFlightError(FlightStatusCode::Unauthorized, std::move(message));
    case ErrorCode::kCorrupt:
    case ErrorCode::kIo:
    case ErrorCode::kUnknownOutcome:
    case ErrorCode::kStale:
      break;
  }
  return MakeFlightError(FlightStatusCode::Internal, std::move(message));
}

}  // namespace flame
