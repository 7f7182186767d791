#include "flame/session/dialect.h"

#include "flame/session/grpc_status.h"
#include "flame/session/manager_internal.h"

namespace flame {
namespace {

int64_t WholeSeconds(int64_t ms) { return ms / 1000 * 1000; }

template <typename Times>
void CutTimes(Times* status) {
  status->set_creation_time(WholeSeconds(status->creation_time()));
  if (status->has_completion_time())
    status->set_completion_time(WholeSeconds(status->completion_time()));
  for (v1::Event& event : *status->mutable_events())
    event.set_creation_time(WholeSeconds(event.creation_time()));
}

}  // namespace

grpc::Status Dialect::StatusOf(const arrow::Status& status) const {
  grpc::Status answer = ToGrpc(status);
  if (!strict_) return answer;
  switch (answer.error_code()) {
    case grpc::StatusCode::OK:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::ALREADY_EXISTS:
    case grpc::StatusCode::INVALID_ARGUMENT:
      return answer;
    default:
      return {grpc::StatusCode::INTERNAL, answer.error_message()};
  }
}

grpc::Status Dialect::EndOfWatch(const arrow::Status& status) const {
  const grpc::Status answer = StatusOf(status);
  const bool silent = strict_ && answer.error_code() == grpc::StatusCode::NOT_FOUND;
  return silent ? grpc::Status::OK : answer;
}

bool Dialect::Skips(const v1::Task& task) const {
  return strict_ && !IsTerminal(task.status().state());
}

void Dialect::Streamed(v1::Task* task) const {
  if (strict_) task->mutable_status()->clear_events();
  Answered(task);
}

void Dialect::Answered(v1::Task* task) const {
  if (strict_) CutTimes(task->mutable_status());
}

void Dialect::Answered(v1::Session* session, bool changed) const {
  if (!strict_) return;
  if (changed) session->mutable_status()->clear_events();
  CutTimes(session->mutable_status());
}

}  // namespace flame
