#include "flame/session/refusal.h"

#include "flame/base/error.h"

namespace flame {

arrow::Status NotFoundRefusal(std::string text) {
  return MakeError(ErrorCode::kNotFound, std::move(text));
}

arrow::Status ExistsRefusal(std::string text) {
  return arrow::Status(arrow::StatusCode::AlreadyExists, std::move(text));
}

arrow::Status InvalidRefusal(std::string text) { return InvalidError(std::move(text)); }

arrow::Status StateRefusal(std::string text) {
  return arrow::Status(arrow::StatusCode::UnknownError, std::move(text));
}

bool IsStateRefusal(const arrow::Status& status) {
  return status.IsUnknownError() && DetailOf(status) == nullptr;
}

arrow::Status StoppingRefusal() {
  return MakeError(ErrorCode::kUnavailable,
                   "the session manager is stopping; retry when it is back");
}

}  // namespace flame
