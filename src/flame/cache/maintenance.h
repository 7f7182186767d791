// Maintenance: the cache's work that no request waits for, on a thread of its own:
// expired objects are deleted, objects that were in use when memory was short are let go,
// old tombstones are folded away, a disk that refused writes is looked at again.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <thread>

#include "flame/base/mutex.h"
#include "flame/cache/cache.h"

namespace flame {

class Maintenance {
 public:
  /// `cache` and `store` are borrowed. Once a second it is looked what has expired, and
  /// whether a disk is back. Tombstones older than `tombstone_age` are folded, looked for
  /// a few times in that span.
  Maintenance(Cache* cache, Store* store, std::chrono::milliseconds tombstone_age);
  /// Ends the thread.
  ~Maintenance();

 private:
  void Run();
  /// Log what fails once, not each second.
  void Report(std::string_view work, const arrow::Status& status);

  Cache* const cache_;  // Borrowed.
  Store* const store_;  // Borrowed.
  const std::chrono::milliseconds tombstone_age_;
  std::map<std::string, std::string, std::less<>>
      failing_;  // Why, by work. The thread's.
  Mutex mutex_;
  CondVar stop_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace flame
