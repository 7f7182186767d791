// Refusals: why a request for an application, session or task is not met, as Status.
// Their texts reach users unchanged, and callers match on some of their words, so those
// that docs/internals/sessions.md lists are kept as they are. grpc_status.h gives each
// its code on the wire.
#pragma once

#include <string>

#include <arrow/status.h>

namespace flame {

/// There is no such application, session, task or node.
arrow::Status NotFoundRefusal(std::string text);
/// The name is taken.
arrow::Status ExistsRefusal(std::string text);
/// The request makes no sense, now (a closed session) or ever.
arrow::Status InvalidRefusal(std::string text);
/// Well formed, but what it asks for cannot be done in this state.
arrow::Status StateRefusal(std::string text);
bool IsStateRefusal(const arrow::Status& status);
/// The server is stopping.
arrow::Status StoppingRefusal();

}  // namespace flame
