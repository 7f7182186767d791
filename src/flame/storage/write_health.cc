#include "flame/storage/write_health.h"

#include "flame/base/log.h"

namespace flame {

void WriteHealthMonitor::Failed(const arrow::Status& why) {
  MutexLock lock(mutex_);
  health_.status = why;
  if (failing_.exchange(true)) return;
  health_.since_ms = clock_->WallMs();
  since_boot_ms_ = clock_->BootMs();
  FLAME_LOG_ERROR(storage, "{}: writes are refused: {}; reads go on", root_,
                  why.message());
}

void WriteHealthMonitor::Worked() {
  if (!failing_) return;
  MutexLock lock(mutex_);
  if (!failing_.exchange(false)) return;
  health_ = {};
  FLAME_LOG_INFO(storage, "{}: writes are accepted again, after {} ms", root_,
                 clock_->BootMs() - since_boot_ms_);
}

WriteHealth WriteHealthMonitor::Get() const {
  MutexLock lock(mutex_);
  return health_;
}

}  // namespace flame
