#include "flame/flight/idle_exit.h"

#include <algorithm>

#include "flame/base/clock.h"
#include "flame/base/error.h"
#include "flame/flight/errors.h"

namespace flame {
namespace {

using arrow::flight::ServerMiddleware;

/// Lives as long as its call, streams included.
class Visit final : public ServerMiddleware {
 public:
  explicit Visit(std::shared_ptr<IdleGate> gate) : gate_(std::move(gate)) {}
  ~Visit() override { gate_->Leave(); }
  void SendingHeaders(arrow::flight::AddCallHeaders*) override {}
  void CallCompleted(const arrow::Status&) override {}
  std::string name() const override { return "flame.idle"; }

 private:
  const std::shared_ptr<IdleGate> gate_;
};

class Doorkeeper final : public arrow::flight::ServerMiddlewareFactory {
 public:
  explicit Doorkeeper(std::shared_ptr<IdleGate> gate) : gate_(std::move(gate)) {}

  arrow::Status StartCall(const arrow::flight::CallInfo&,
                          const arrow::flight::ServerCallContext&,
                          std::shared_ptr<ServerMiddleware>* middleware) override {
    if (!gate_->Enter()) {
      return ToFlight(WithOutcome(
          MakeError(ErrorCode::kUnavailable,
                    "the server stops because nobody used it; connect to the next one"),
          Outcome::kNotApplied));
    }
    *middleware = std::make_shared<Visit>(gate_);
    return arrow::Status::OK();
  }

 private:
  const std::shared_ptr<IdleGate> gate_;
};

}  // namespace

IdleGate::IdleGate(const Clock* clock, std::chrono::milliseconds limit)
    : clock_(clock), limit_ms_(limit.count()), left_ms_(clock->BootMs()) {}

bool IdleGate::Enter() {
  MutexLock lock(mutex_);
  if (closed_) return false;
  ++inside_;
  return true;
}

void IdleGate::Leave() {
  MutexLock lock(mutex_);
  --inside_;
  left_ms_ = clock_->BootMs();
}

std::chrono::milliseconds IdleGate::TryClose() {
  MutexLock lock(mutex_);
  if (inside_ > 0) return std::chrono::milliseconds(limit_ms_);
  const int64_t left = limit_ms_ - (clock_->BootMs() - left_ms_);
  closed_ = closed_ || left <= 0;
  return std::chrono::milliseconds(closed_ ? 0 : left);
}

IdleExit::IdleExit(const Clock* clock, std::chrono::milliseconds limit,
                   std::function<void()> stop)
    : gate_(std::make_shared<IdleGate>(clock, limit)),
      thread_([this, stop = std::move(stop)] { Run(stop); }) {}

IdleExit::~IdleExit() {
  {
    MutexLock lock(mutex_);
    end_ = true;
    ended_.NotifyAll();
  }
  thread_.join();
}

std::shared_ptr<arrow::flight::ServerMiddlewareFactory> IdleExit::middleware() const {
  return std::make_shared<Doorkeeper>(gate_);
}

void IdleExit::Run(const std::function<void()>& stop) {
  // The clock goes on while the machine sleeps, the wait below does not: look now and
  // then.
  constexpr std::chrono::milliseconds kLook = std::chrono::minutes(1);
  MutexLock lock(mutex_);
  while (!end_) {
    const auto left = gate_->TryClose();
    if (left.count() == 0) {
      stop();
      return;
    }
    ended_.WaitUntil(lock, std::chrono::steady_clock::now() + std::min(left, kLook));
  }
}

}  // namespace flame
