// Time is injected: everything that asks for it takes a Clock, so that tests move it by
// hand.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace flame {

/// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Milliseconds since the Unix epoch. May be set back by an administrator.
  virtual int64_t WallMs() const = 0;
  /// Monotonic milliseconds since boot, suspend included (CLOCK_BOOTTIME).
  virtual int64_t BootMs() const = 0;

  /// The machine's clock; lives for ever.
  static const Clock* System();
};

/// Stands still until a test moves it.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(int64_t wall_ms = 1'700'000'000'000) : wall_ms_(wall_ms) {}
  int64_t WallMs() const override { return wall_ms_; }
  int64_t BootMs() const override { return boot_ms_; }
  void Advance(std::chrono::milliseconds by) {
    wall_ms_ += by.count();
    boot_ms_ += by.count();
  }
  /// Only the wall clock, as an administrator does it.
  void SetWall(int64_t wall_ms) { wall_ms_ = wall_ms; }

 private:
  std::atomic<int64_t> wall_ms_;
  std::atomic<int64_t> boot_ms_{0};
};

}  // namespace flame
