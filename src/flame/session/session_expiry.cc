#include "flame/session/session_expiry.h"

#include <algorithm>
#include <utility>

#include "flame/base/log.h"

namespace flame {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{1000};
constexpr milliseconds kLastPause{60'000};
/// The wall clock may be set: it is looked at now and then.
constexpr milliseconds kLook{10'000};

}  // namespace

SessionExpiry::SessionExpiry(milliseconds ttl, const Clock* clock, Expire expire,
                             std::function<bool(const std::string&)> is_open)
    : ttl_(ttl),
      clock_(clock),
      expire_(std::move(expire)),
      is_open_(std::move(is_open)),
      thread_([this] { Run(); }) {}

SessionExpiry::~SessionExpiry() {
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void SessionExpiry::Add(const v1::Session& session) {
  MutexLock lock(mutex_);
  due_.emplace(session.status().completion_time() + ttl_.count(),
               Due{session.spec().application(), session.metadata().id()});
  changed_.NotifyAll();
}

void SessionExpiry::Run() {
  MutexLock lock(mutex_);
  while (!stopped_) {
    if (due_.empty()) {
      changed_.Wait(lock);
      continue;
    }
    const int64_t left = due_.begin()->first - clock_->WallMs();
    if (left > 0) {
      changed_.WaitUntil(
          lock, std::chrono::steady_clock::now() + std::min(milliseconds(left), kLook));
      continue;
    }
    Due due = std::move(due_.begin()->second);
    due_.erase(due_.begin());
    lock.Unlock();
    arrow::Status status;
    // One that was opened anew under the same id is added again when it is closed.
    if (!is_open_(due.session)) {
      status = expire_(due.application, due.session);
      if (status.ok())
        FLAME_LOG_INFO(session, "session {}: its results are removed", due.session);
    }
    lock.Lock();
    if (status.ok()) continue;
    if (due.pause.count() == 0)
      FLAME_LOG_WARN(session, "remove the results of session {}: {}; again later",
                     due.session, status.message());
    due.pause = std::clamp(due.pause * 2, kFirstPause, kLastPause);
    const int64_t next = clock_->WallMs() + due.pause.count();
    due_.emplace(next, std::move(due));
  }
}

}  // namespace flame
