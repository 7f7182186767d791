#include "flame/flight/call.h"

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/flight/errors.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;
using arrow::flight::FlightPayload;

class CountedData final : public arrow::flight::FlightDataStream {
 public:
  CountedData(std::unique_ptr<FlightDataStream> stream, std::unique_ptr<Call> call,
              std::shared_ptr<const void> held)
      : held_(std::move(held)), call_(std::move(call)), stream_(std::move(stream)) {
    call_->StartStream();
  }

  std::shared_ptr<arrow::Schema> schema() override { return stream_->schema(); }
  Result<FlightPayload> GetSchemaPayload() override {
    auto message = stream_->GetSchemaPayload();
    if (!message.ok()) return call_->Finish(message.status());
    return message;
  }
  Result<FlightPayload> Next() override {
    auto message = stream_->Next();
    if (!message.ok()) return call_->Finish(message.status());
    if (message->ipc_message.metadata == nullptr) {
      ARROW_RETURN_NOT_OK(call_->Finish(Status::OK()));
    } else {
      call_->counters().sent_bytes.Add(message->ipc_message.metadata->size() +
                                       message->ipc_message.body_length);
    }
    return message;
  }
  Status Close() override { return stream_->Close(); }

 private:
  const std::shared_ptr<const void> held_;  // Goes last.
  const std::unique_ptr<Call> call_;
  const std::unique_ptr<FlightDataStream> stream_;
};

class CountedResults final : public arrow::flight::ResultStream {
 public:
  CountedResults(Results results, std::unique_ptr<Call> call)
      : call_(std::move(call)), results_(std::move(results)) {
    call_->StartStream();
  }

  Result<std::unique_ptr<arrow::flight::Result>> Next() override {
    auto next = results_();
    if (!next.ok()) return call_->Finish(next.status());
    if (!*next) {
      ARROW_RETURN_NOT_OK(call_->Finish(Status::OK()));
      return nullptr;
    }
    call_->counters().sent_bytes.Add(std::ssize(**next));
    auto result = std::make_unique<arrow::flight::Result>();
    result->body = arrow::Buffer::FromString(**std::move(next));
    return result;
  }

 private:
  const std::unique_ptr<Call> call_;
  const Results results_;
};

}  // namespace

Call::Call(DoorMetrics* metrics, DoorOperation operation, const char* name)
    : metrics_(metrics),
      operation_(operation),
      name_(name),
      start_(std::chrono::steady_clock::now()),
      running_(metrics->running.fetch_add(1, std::memory_order_relaxed) + 1) {}

Call::~Call() {
  if (streaming_ && !finished_) {
    ARROW_UNUSED(Finish(MakeError(ErrorCode::kCancelled, "the client went away")));
  }
  counters().latency.Observe(std::chrono::steady_clock::now() - start_);
  metrics_->running.fetch_sub(1, std::memory_order_relaxed);
}

Status Call::Admit() const {
  const int64_t limit = metrics_->running_limit.load(std::memory_order_relaxed);
  if (running_ <= limit) return Status::OK();
  return WithOutcome(MakeError(ErrorCode::kExhausted,
                               fmt::format("{} calls are running, the most there may be "
                                           "(limits.streams); try again later",
                                           limit)),
                     Outcome::kNotApplied);
}

Status Call::Finish(const Status& status) {
  if (finished_) return ToFlight(status);
  finished_ = true;
  if (status.ok()) {
    FLAME_LOG_DEBUG(flight, "{} {}: ok", name_, subject_);
    return status;
  }
  const ErrorCode code = CodeOf(status);
  counters().errors[static_cast<size_t>(code)].Add();
  // Of a disk that refuses writes, the store has logged one line.
  const ErrorDetail* detail = DetailOf(status);
  const bool is_write = detail != nullptr && detail->outcome;
  const bool ours = code == ErrorCode::kCorrupt || (code == ErrorCode::kIo && !is_write);
  FLAME_LOG_AT(flight, ours ? spdlog::level::err : spdlog::level::debug, "{} {}: {}",
               name_, subject_, status.ToString());
  return ToFlight(status);
}

RequestContext ContextOf(const arrow::flight::ServerCallContext& call) {
  RequestContext context;
  context.principal = call.peer_identity();
  context.cancelled = [&call] { return call.is_cancelled(); };
  return context;
}

std::unique_ptr<arrow::flight::FlightDataStream> Streamed(
    std::unique_ptr<arrow::flight::FlightDataStream> stream, std::unique_ptr<Call> call,
    std::shared_ptr<const void> held) {
  return std::make_unique<CountedData>(std::move(stream), std::move(call),
                                       std::move(held));
}

std::unique_ptr<arrow::flight::ResultStream> Streamed(Results results,
                                                      std::unique_ptr<Call> call) {
  return std::make_unique<CountedResults>(std::move(results), std::move(call));
}

}  // namespace flame
