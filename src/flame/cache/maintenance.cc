#include "flame/cache/maintenance.h"

#include <algorithm>

#include "flame/base/error.h"
#include "flame/base/log.h"

namespace flame {
namespace {

using namespace std::chrono_literals;

constexpr auto kTick = 1s;  // A disk that is back goes unnoticed no longer than this.

std::chrono::milliseconds IntervalOf(std::chrono::milliseconds tombstone_age) {
  return std::clamp<std::chrono::milliseconds>(tombstone_age / 4, 1s, 1h);
}

}  // namespace

Maintenance::Maintenance(Cache* cache, Store* store,
                         std::chrono::milliseconds tombstone_age)
    : cache_(cache),
      store_(store),
      tombstone_age_(tombstone_age),
      thread_([this] { Run(); }) {}

Maintenance::~Maintenance() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  thread_.join();
}

void Maintenance::Run() {
  using Clock = std::chrono::steady_clock;
  auto next = Clock::now() + kTick;
  auto next_fold = Clock::now() + IntervalOf(tombstone_age_);
  MutexLock lock(mutex_);
  while (!stopping_) {
    if (stop_.WaitUntil(lock, next)) continue;
    lock.Unlock();
    // While the disk refuses writes, the store has said so.
    if (store_->TryRecover(); store_->write_health().status.ok()) {
      Report("expiring objects", cache_->ReapExpired().status());
      Report("evicting objects", cache_->EvictToLimits());
      if (Clock::now() >= next_fold) {
        Report("folding tombstones", cache_->FoldOldTombstones(tombstone_age_));
        next_fold = Clock::now() + IntervalOf(tombstone_age_);
      }
    }
    lock.Lock();
    next = Clock::now() + kTick;
  }
}

void Maintenance::Report(std::string_view work, const arrow::Status& status) {
  // Stopping.
  if (IsError(status, ErrorCode::kUnavailable)) return;
  const std::string why = status.ok() ? std::string() : status.message();
  std::string& known = failing_[std::string(work)];
  if (why == known) return;
  if (status.ok()) {
    FLAME_LOG_INFO(cache, "{} works again", work);
  } else {
    FLAME_LOG_WARN(cache, "{}: {}", work, why);
  }
  known = why;
}

}  // namespace flame
