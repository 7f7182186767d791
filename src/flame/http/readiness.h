// Readiness: whether the server should be sent requests, for /readyz. Alive is another
// matter: whoever answers /healthz is.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>

#include "flame/base/mutex.h"
#include "flame/http/http_server.h"

namespace flame {

/// Thread-safe.
class Readiness {
 public:
  enum class State { kStarting, kServing, kStopping };
  void Set(State state) { state_ = state; }

  /// Asked at each look while serving: why writes can't be served, or nothing. Must be
  /// quick. An empty function takes the check back.
  using Check = std::function<std::optional<std::string>()>;
  void SetCheck(Check check);

  /// Nothing, or why not.
  std::optional<std::string> WhyNot() const;
  /// 200 `ready`, or 503 and why not.
  HttpPage Page() const;

 private:
  std::atomic<State> state_{State::kStarting};
  mutable Mutex mutex_;
  Check check_ GUARDED_BY(mutex_);
};

}  // namespace flame
