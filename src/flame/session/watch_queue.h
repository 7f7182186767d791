// WatchQueue: which tasks of one stream have news. Keeps names, not states: whoever
// writes asks the manager for the newest state when the client is ready for it, so a slow
// client skips states and costs no memory.
//
// Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <arrow/result.h>

#include "flame/base/mutex.h"
#include "flame/session/session_manager.h"

namespace flame {

class WatchQueue final : public TaskListener,
                         public std::enable_shared_from_this<WatchQueue> {
 public:
  /// `news` is called, without locks, whenever Take() may have something new; until
  /// Close().
  WatchQueue(SessionManager* manager, std::function<void()> news)
      : manager_(manager), news_(std::move(news)) {}

  /// Watch one more; its present state is the first news. kNotFound, or kInvalid for an
  /// id that is no number. Held by a shared_ptr.
  arrow::Status Add(const std::string& session, const std::string& task);
  /// The next task with news, nullopt = none now. Its final state is its last. An error
  /// ends the stream: a task that was watched is gone.
  arrow::Result<std::optional<v1::Task>> Take();
  /// All that were added have reached their end and were taken.
  bool Finished() const;
  void Close();

  void OnTaskChanged(const std::string& session, uint64_t task,
                     v1::TaskState state) override;

 private:
  using Key = std::pair<std::string, uint64_t>;
  struct Watched {
    bool queued = false;
    int last_state = -1;  // What the client has seen.
  };

  SessionManager* const manager_;

  mutable Mutex mutex_;
  std::function<void()> news_ GUARDED_BY(mutex_);
  std::map<Key, Watched> watched_ GUARDED_BY(mutex_);
  std::deque<Key> queue_ GUARDED_BY(mutex_);
  int calling_ GUARDED_BY(mutex_) = 0;  // Threads in news_.
  CondVar idle_;
};

}  // namespace flame
