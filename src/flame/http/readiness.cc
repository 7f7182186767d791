#include "flame/http/readiness.h"

namespace flame {

void Readiness::SetCheck(Check check) {
  MutexLock lock(mutex_);
  check_ = std::move(check);
}

std::optional<std::string> Readiness::WhyNot() const {
  switch (state_.load()) {
    case State::kStarting:
      return "starting";
    case State::kStopping:
      return "stopping";
    case State::kServing:
      break;
  }
  // Under the lock, so that who takes a check back knows that it is not running.
  MutexLock lock(mutex_);
  return check_ ? check_() : std::nullopt;
}

HttpPage Readiness::Page() const {
  const auto why = WhyNot();
  return why ? HttpPage{.status = 503, .body = *why + "\n"} : HttpPage{.body = "ready\n"};
}

}  // namespace flame
