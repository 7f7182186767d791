// WriteHealthMonitor: whether a store's disk takes writes now, told to the log once when
// it stops and once when it is back. Internal to storage/.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <string>

#include "flame/base/clock.h"
#include "flame/base/mutex.h"
#include "flame/storage/store.h"

namespace flame {

class WriteHealthMonitor {
 public:
  /// `root` is for messages. `clock` is borrowed.
  WriteHealthMonitor(std::string root, const Clock* clock)
      : root_(std::move(root)), clock_(clock) {}

  /// The disk refuses every write, because of `why` (not OK).
  void Failed(const arrow::Status& why);
  /// It took one.
  void Worked();
  bool failing() const { return failing_; }
  WriteHealth Get() const;

 private:
  const std::string root_;
  const Clock* const clock_;
  std::atomic<bool> failing_{false};  // Written under the lock.
  mutable Mutex mutex_;
  WriteHealth health_ GUARDED_BY(mutex_);
  int64_t since_boot_ms_ GUARDED_BY(mutex_) = 0;
};

}  // namespace flame
