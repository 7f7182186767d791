// Maintenance: the cache's work that no request waits for, on a thread of its own: old
// tombstones are folded away, a disk that refused writes is looked at again.
#pragma once

#include <chrono>
#include <thread>

#include "flame/base/mutex.h"
#include "flame/cache/cache.h"

namespace flame {

class Maintenance {
 public:
  /// `cache` and `store` are borrowed. Tombstones older than `tombstone_age` are folded,
  /// looked for a few times in that span.
  Maintenance(Cache* cache, Store* store, std::chrono::milliseconds tombstone_age);
  /// Ends the thread.
  ~Maintenance();

 private:
  void Run();

  void FoldTombstones();

  Cache* const cache_;  // Borrowed.
  Store* const store_;  // Borrowed.
  const std::chrono::milliseconds tombstone_age_;
  Mutex mutex_;
  CondVar stop_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace flame
