#include "flame/session/grpc_status.h"

#include "flame/base/error.h"

namespace flame {
namespace {

grpc::StatusCode GrpcCodeOf(const arrow::Status& status) {
  if (status.IsAlreadyExists()) return grpc::StatusCode::ALREADY_EXISTS;
  // Without a detail of ours: a refusal because of a state, which clients of the existing
  // server know as INTERNAL.
  if (DetailOf(status) == nullptr) return grpc::StatusCode::INTERNAL;
  switch (CodeOf(status)) {
    case ErrorCode::kNotFound:
      return grpc::StatusCode::NOT_FOUND;
    case ErrorCode::kInvalid:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case ErrorCode::kExhausted:
    case ErrorCode::kTooLarge:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case ErrorCode::kUnavailable:
      return grpc::StatusCode::UNAVAILABLE;
    case ErrorCode::kCancelled:
      return grpc::StatusCode::CANCELLED;
    case ErrorCode::kTimeout:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    default:
      return grpc::StatusCode::INTERNAL;
  }
}

}  // namespace

grpc::Status ToGrpc(const arrow::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {GrpcCodeOf(status), status.message()};
}

}  // namespace flame
