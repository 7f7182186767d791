// IdleExit: ends a server that nobody calls. Every call passes a gate; when none is
// inside and none has been for a while, the gate closes for good and the server is told
// to stop. A call that comes after that is refused before anything has been done for it,
// so its client may send it to the next server without a doubt.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include <arrow/flight/server_middleware.h>

#include "flame/base/mutex.h"

namespace flame {
class Clock;  // flame/base/clock.h

/// Counts calls. Thread-safe.
class IdleGate {
 public:
  IdleGate(const Clock* clock, std::chrono::milliseconds limit);
  /// False for ever once it has closed.
  bool Enter();
  void Leave();
  /// Closes if nobody has been inside for the limit: 0. Otherwise after how long to ask
  /// again.
  std::chrono::milliseconds TryClose();

 private:
  const Clock* const clock_;
  const int64_t limit_ms_;
  Mutex mutex_;
  int64_t inside_ GUARDED_BY(mutex_) = 0;
  int64_t left_ms_ GUARDED_BY(mutex_);  // When the last one left.
  bool closed_ GUARDED_BY(mutex_) = false;
};

class IdleExit {
 public:
  /// `clock` must outlive the services that use the middleware. `stop` is called once, on
  /// a thread of this object.
  IdleExit(const Clock* clock, std::chrono::milliseconds limit,
           std::function<void()> stop);
  ~IdleExit();

  /// To be given to every service that counts.
  std::shared_ptr<arrow::flight::ServerMiddlewareFactory> middleware() const;

 private:
  void Run(const std::function<void()>& stop);

  const std::shared_ptr<IdleGate> gate_;
  Mutex mutex_;
  CondVar ended_;
  bool end_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace flame
