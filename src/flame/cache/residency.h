// Residency: how much memory the resident objects take, whether that is too much, and who
// should leave. It counts and chooses; Cache lets objects go, because only it knows what
// that means (docs/internals/eviction.md).
//
// Thread-safe; its lock is taken last, after a shard's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "flame/base/mutex.h"
#include "flame/cache/eviction_policy.h"
#include "flame/storage/resident.h"

namespace flame {

struct EvictionOptions {
  enum class Policy { kNone, kLru, kS3Fifo };
  Policy policy = Policy::kNone;     // kNone: nothing leaves, the limits mean nothing.
  std::optional<int64_t> max_bytes;  // Unset: no bound.
  std::optional<int64_t> max_objects;
};

class Residency {
 public:
  explicit Residency(const EvictionOptions& options);

  /// What was resident as `old` is resident as `next` from now on; null: was not, or is
  /// no longer. A replacement counts as a use. REQUIRES: the lock of the object's shard,
  /// as for all that take an object.
  void Set(Resident* old, Resident* next) EXCLUDES(mutex_);
  void Use(Resident* object) EXCLUDES(mutex_);

  /// More is resident than may be, even if `bytes` and `objects` of it are about to go.
  bool IsOver(int64_t bytes = 0, int64_t objects = 0) const;
  /// An object of this charge could be resident if it were alone.
  bool CanFit(int64_t charge) const;
  /// The key of the object that should leave next. Nobody else is given it, until it is
  /// put back or Set. nullopt: there is none.
  std::optional<std::string> TakeVictim() EXCLUDES(mutex_);
  /// The victim could not leave. No effect if it was put back already.
  void PutBack(Resident* object) EXCLUDES(mutex_);

  int64_t bytes() const { return bytes_; }
  int64_t objects() const { return objects_; }
  const EvictionOptions& options() const { return options_; }

 private:
  const EvictionOptions options_;
  std::atomic<int64_t> bytes_{0};
  std::atomic<int64_t> objects_{0};
  Mutex mutex_;
  const std::unique_ptr<EvictionPolicy> policy_ PT_GUARDED_BY(mutex_);  // Null: kNone.
};

}  // namespace flame
