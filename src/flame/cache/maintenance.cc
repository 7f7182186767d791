#include "flame/cache/maintenance.h"

#include <algorithm>

#include "flame/base/error.h"
#include "flame/base/log.h"

namespace flame {
namespace {

using namespace std::chrono_literals;

/// How long a disk that is back goes unnoticed at most, when nobody writes.
constexpr auto kLookAtStore = 1s;

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
  auto next_look = std::chrono::steady_clock::now() + kLookAtStore;
  auto next_fold = std::chrono::steady_clock::now() + IntervalOf(tombstone_age_);
  MutexLock lock(mutex_);
  while (!stopping_) {
    if (stop_.WaitUntil(lock, std::min(next_look, next_fold))) continue;
    lock.Unlock();
    if (std::chrono::steady_clock::now() >= next_look) {
      store_->TryRecover();
      next_look = std::chrono::steady_clock::now() + kLookAtStore;
    }
    if (std::chrono::steady_clock::now() >= next_fold) {
      FoldTombstones();
      next_fold = std::chrono::steady_clock::now() + IntervalOf(tombstone_age_);
    }
    lock.Lock();
  }
}

void Maintenance::FoldTombstones() {
  // While the disk refuses writes, that has been logged.
  if (!store_->write_health().status.ok()) return;
  const arrow::Status status = cache_->FoldOldTombstones(tombstone_age_);
  if (!status.ok() && !IsError(status, ErrorCode::kUnavailable)) {
    FLAME_LOG_WARN(cache, "folding tombstones: {}", status.message());
  }
}

}  // namespace flame
