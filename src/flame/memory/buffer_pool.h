// BufferPool: where payload bytes that we copy or read come to lie. The heap today; the
// shared-memory arena later, under the same contract test. And Budget: how many bytes may
// be in flight at once.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include <arrow/buffer.h>
#include <arrow/result.h>

#include "flame/base/mutex.h"
#include "flame/object/snapshot.h"

namespace flame {

/// Thread-safe. Must outlive every buffer that it handed out.
class BufferPool {
 public:
  virtual ~BufferPool() = default;

  /// A writable buffer of `size` bytes whose address is `phase` modulo `align` (a power
  /// of two, phase < align). Opaque payloads start at phase 60 of 64, so that what
  /// follows their 4-byte prefix lies aligned. kExhausted when full.
  virtual arrow::Result<std::unique_ptr<arrow::MutableBuffer>> Allocate(
      int64_t size, int64_t align, int64_t phase) = 0;
  /// From now on nobody writes to it; readers may share it.
  virtual std::shared_ptr<arrow::Buffer> Seal(
      std::unique_ptr<arrow::MutableBuffer> buffer) = 0;

  enum class Place { kForeign, kHeap, kArena };
  struct Address {
    // kForeign: memory of somebody else, such as a network message.
    Place place = Place::kForeign;
    uint64_t offset = 0;  // In the arena.
  };
  /// Where `buffer` lies.
  virtual Address Locate(const arrow::Buffer& buffer) const = 0;
  /// The cache no longer shows `snapshot`; its bytes go when the last reader lets go of
  /// them.
  virtual void Retire(std::shared_ptr<const Snapshot> snapshot) = 0;
  /// Bytes handed out and not yet returned, and of these the bytes that retiring could
  /// free (no reader, on disk).
  virtual int64_t Allocated() const = 0;
  virtual int64_t Freeable() const = 0;
};

/// Aligned memory of the C library.
std::unique_ptr<BufferPool> MakeHeapPool();

/// A copy in memory of `pool` when `payload` has at most `max_bytes`: small payloads must
/// not keep the much larger network message alive that brought them. Larger ones are
/// returned as they are.
arrow::Result<std::shared_ptr<const Payload>> Compact(
    std::shared_ptr<const Payload> payload, int64_t max_bytes, BufferPool* pool);

/// Bounds the bytes that requests hold at a time: uploads being received, replies being
/// sent. Thread-safe.
class Budget {
 public:
  explicit Budget(int64_t limit_bytes) : limit_(limit_bytes) {}

  /// Bytes of the budget; returned when it is destroyed.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept { *this = std::move(other); }
    Lease& operator=(Lease&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Lease() {
      if (budget_ != nullptr) budget_->Release(bytes_);
    }
    int64_t bytes() const { return bytes_; }

   private:
    friend class Budget;
    Lease(Budget* budget, int64_t bytes) : budget_(budget), bytes_(bytes) {}
    Budget* budget_ = nullptr;
    int64_t bytes_ = 0;
  };

  /// Wait until `bytes` more fit, at most until `patience` has passed: then kExhausted,
  /// so that uploads that wait for each other end. kTooLarge at once when `bytes` can
  /// never fit. `cancelled` is asked every 100 ms.
  arrow::Result<Lease> Acquire(int64_t bytes, std::chrono::milliseconds patience,
                               const std::function<bool()>& cancelled = {});

  int64_t in_use() const;
  int64_t limit() const { return limit_; }

 private:
  void Release(int64_t bytes);

  const int64_t limit_;
  mutable Mutex mutex_;
  CondVar released_;
  int64_t in_use_ GUARDED_BY(mutex_) = 0;
};

}  // namespace flame
