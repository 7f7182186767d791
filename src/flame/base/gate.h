// Gate: lets calls in until it is closed, and waits for those inside. The order of a
// shutdown in one object: close the gate, wait, tear down.
#pragma once

#include "flame/base/mutex.h"

namespace flame {

/// Thread-safe.
class Gate {
 public:
  /// Held while a call is inside; false when the gate is closed.
  class Pass {
   public:
    Pass() = default;
    Pass(Pass&& other) noexcept : gate_(other.gate_) { other.gate_ = nullptr; }
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_ != nullptr) gate_->Leave();
    }
    explicit operator bool() const { return gate_ != nullptr; }

   private:
    friend class Gate;
    explicit Pass(Gate* gate) : gate_(gate) {}
    Gate* gate_ = nullptr;
  };

  Pass Enter() {
    MutexLock lock(mutex_);
    if (closed_) return {};
    ++inside_;
    return Pass(this);
  }
  /// Let nobody in any more and wait until everybody has left. False if it was closed
  /// before.
  bool CloseAndWait() {
    MutexLock lock(mutex_);
    const bool first = !closed_;
    closed_ = true;
    while (inside_ > 0) left_.Wait(lock);
    return first;
  }

 private:
  void Leave() {
    MutexLock lock(mutex_);
    if (--inside_ == 0) left_.NotifyAll();
  }

  Mutex mutex_;
  CondVar left_;
  int64_t inside_ GUARDED_BY(mutex_) = 0;
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace flame
