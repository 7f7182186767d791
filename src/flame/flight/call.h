// Call: one call of a client from its arrival to its last byte. Counts against the calls
// that may run at once, is timed, and has its outcome translated, counted and logged
// once.
//
// A call that streams its answer outlives its handler: the stream owns it then.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include <arrow/flight/server.h>

#include "flame/base/metrics.h"
#include "flame/cache/request_context.h"

namespace flame {

/// Confined to the call's thread.
class Call {
 public:
  /// `metrics` is borrowed and outlives every call. `name`: of the RPC, for the log;
  /// lives for ever.
  Call(DoorMetrics* metrics, DoorOperation operation, const char* name);
  /// The end of the call: it is counted with what it was last Finish()ed with. One whose
  /// stream was dropped before its end was cancelled.
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// kExhausted when too many calls are running.
  arrow::Status Admit() const;

  /// What it turned out to be.
  void set_operation(DoorOperation operation) { operation_ = operation; }
  /// For the log: key or prefix.
  void set_subject(std::string subject) { subject_ = std::move(subject); }

  DoorMetrics::Operation& counters() const { return metrics_->of(operation_); }
  DoorMetrics* metrics() const { return metrics_; }

  /// The outcome of a handler that answers with one message, or of a stream at its end.
  /// Returns it as Flight's.
  arrow::Status Finish(const arrow::Status& status);
  /// A stream begins: until Finish() the outcome is that the client went away.
  void StartStream() { streaming_ = true; }

 private:
  DoorMetrics* const metrics_;
  DoorOperation operation_;
  const char* const name_;
  std::string subject_ = "(malformed)";
  const std::chrono::steady_clock::time_point start_;
  const int64_t running_;  // With this one.
  bool streaming_ = false;
  bool finished_ = false;
};

RequestContext ContextOf(const arrow::flight::ServerCallContext& call);

/// `stream` as the answer of `call`: what goes out is counted, and `held` lives as long.
std::unique_ptr<arrow::flight::FlightDataStream> Streamed(
    std::unique_ptr<arrow::flight::FlightDataStream> stream, std::unique_ptr<Call> call,
    std::shared_ptr<const void> held);

/// The results of an action, one by one; nullopt at the end. Each is made when the client
/// has taken those before it, so that a slow client does not fill the server's memory.
using Results = std::function<arrow::Result<std::optional<std::string>>()>;
std::unique_ptr<arrow::flight::ResultStream> Streamed(Results results,
                                                      std::unique_ptr<Call> call);

}  // namespace flame
