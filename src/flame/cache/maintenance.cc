#include "flame/cache/maintenance.h"

#include <algorithm>

#include "flame/base/error.h"
#include "flame/base/log.h"

namespace flame {
namespace {

using namespace std::chrono_literals;

std::chrono::milliseconds IntervalOf(std::chrono::milliseconds tombstone_age) {
  return std::clamp<std::chrono::milliseconds>(tombstone_age / 4, 1s, 1h);
}

}  // namespace

Maintenance::Maintenance(Cache* cache, std::chrono::milliseconds tombstone_age)
    : cache_(cache), tombstone_age_(tombstone_age), thread_([this] { Run(); }) {}

Maintenance::~Maintenance() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  thread_.join();
}

void Maintenance::Run() {
  auto next = std::chrono::steady_clock::now() + IntervalOf(tombstone_age_);
  MutexLock lock(mutex_);
  while (!stopping_) {
    if (stop_.WaitUntil(lock, next)) continue;
    lock.Unlock();
    const arrow::Status status = cache_->FoldOldTombstones(tombstone_age_);
    if (!status.ok() && !IsError(status, ErrorCode::kUnavailable)) {
      FLAME_LOG_WARN(cache, "folding tombstones: {}", status.message());
    }
    lock.Lock();
    next = std::chrono::steady_clock::now() + IntervalOf(tombstone_age_);
  }
}

}  // namespace flame
