// Our errors as gRPC's: the one place where they are translated.
#pragma once

#include <arrow/status.h>
#include <grpcpp/support/status.h>

namespace flame {

/// The text is unchanged. Codes: docs/internals/sessions.md.
grpc::Status ToGrpc(const arrow::Status& status);

}  // namespace flame
