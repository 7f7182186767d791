// ExpiryClock: the time by which objects expire. It follows the wall clock forward and
// never goes back: when the wall clock is set back, it goes on at the pace of the boot
// clock, so that what has expired stays expired and what has time left keeps it.
//
// Thread-safe, lock-free.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "flame/base/clock.h"

namespace flame {

class ExpiryClock {
 public:
  /// `clock` is borrowed. Starts at `at_least_ms` (since the Unix epoch) or later.
  ExpiryClock(const Clock* clock, int64_t at_least_ms)
      : clock_(clock), ahead_ms_(at_least_ms - clock->BootMs()) {}

  /// Milliseconds since the Unix epoch.
  int64_t NowMs() const {
    const int64_t boot_ms = clock_->BootMs();
    const int64_t ahead_ms = clock_->WallMs() - boot_ms;
    int64_t known_ms = ahead_ms_.load(std::memory_order_relaxed);
    while (ahead_ms > known_ms && !ahead_ms_.compare_exchange_weak(known_ms, ahead_ms)) {
    }
    return boot_ms + std::max(ahead_ms, known_ms);
  }

 private:
  const Clock* const clock_;  // Borrowed.
  // By how much the wall clock has ever been ahead of the boot clock.
  mutable std::atomic<int64_t> ahead_ms_;
};

}  // namespace flame
