#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/memory/buffer_pool.h"

namespace flame {

arrow::Result<Budget::Lease> Budget::Acquire(int64_t bytes,
                                             std::chrono::milliseconds patience,
                                             const std::function<bool()>& cancelled) {
  using namespace std::chrono_literals;
  if (bytes > limit_) {
    return MakeError(
        ErrorCode::kTooLarge,
        fmt::format("{} bytes at once are over the limit of {} bytes in flight; send "
                    "smaller batches or raise limits.in_flight",
                    bytes, limit_));
  }
  const auto deadline = std::chrono::steady_clock::now() + patience;
  MutexLock lock(mutex_);
  while (in_use_ + bytes > limit_) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) {
      return MakeError(
          ErrorCode::kExhausted,
          fmt::format("{} bytes are in flight and {} more would pass the limit of {}; "
                      "try again later",
                      in_use_, bytes, limit_));
    }
    if (cancelled && cancelled()) {
      return MakeError(ErrorCode::kCancelled,
                       "the caller went away while waiting for memory");
    }
    released_.WaitUntil(lock, std::min(deadline, now + 100ms));
  }
  in_use_ += bytes;
  return Lease(this, bytes);
}

void Budget::Release(int64_t bytes) {
  {
    MutexLock lock(mutex_);
    in_use_ -= bytes;
  }
  released_.NotifyAll();
}

int64_t Budget::in_use() const {
  MutexLock lock(mutex_);
  return in_use_;
}

}  // namespace flame
