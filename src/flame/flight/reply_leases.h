// ReplyLeases: bounds the bytes of objects that replies hold while clients take them. An
// object that many clients read at a time is counted once: it lies in memory once.
//
// Apart from the budget of uploads, so that clients who do not read what they asked for
// can't keep others from writing. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include <arrow/result.h>

#include "flame/base/mutex.h"
#include "flame/cache/cache.h"
#include "flame/memory/buffer_pool.h"

namespace flame {

class ReplyLeases {
 public:
  /// Smaller objects are free: their number is bounded by the calls that may run.
  static constexpr int64_t kFree = 64 << 10;

  explicit ReplyLeases(int64_t limit_bytes) : budget_(limit_bytes) {}

  /// What a Get found, and the lease of what it holds, to be kept as long as that.
  struct Held {
    GetResult got;
    std::shared_ptr<const void> lease;  // May be null.
  };
  /// One read of an object.
  struct Reader {
    /// How many bytes `get` would bring into memory: it is called when there is room.
    std::function<arrow::Result<int64_t>()> to_load;
    std::function<arrow::Result<GetResult>()> get;
    /// How many bytes of a snapshot the reply will hold.
    std::function<int64_t(const Snapshot&)> size;
    std::function<bool()> cancelled;
  };
  /// Call `get`, and again when there was no room for what it found: that is let go
  /// while waiting. kExhausted when there was none for some seconds.
  arrow::Result<Held> Read(const Reader& reader);

  /// Room for bytes beside those of an object.
  arrow::Result<Budget::Lease> Acquire(int64_t bytes,
                                       const std::function<bool()>& cancelled);

  const Budget& budget() const { return budget_; }

 private:
  struct Lease;
  arrow::Result<Budget::Lease> RoomToLoad(const Reader& reader);

  using Part = std::pair<uint64_t, int64_t>;  // Id of a snapshot, bytes of it.

  Budget budget_;
  Mutex mutex_;
  std::map<Part, std::weak_ptr<Lease>> leases_ GUARDED_BY(mutex_);
};

}  // namespace flame
