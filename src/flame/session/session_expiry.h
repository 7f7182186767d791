// SessionExpiry: calls back when a session has been closed for some time. Deadlines
// follow from the sessions' own completion times, so that nothing else has to be stored.
//
// Thread-safe. The callback runs on a thread of its own, one at a time.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include <arrow/status.h>

#include "flame/base/clock.h"
#include "flame/base/mutex.h"
#include "flame/v1/types.pb.h"

namespace flame {

class SessionExpiry {
 public:
  /// An error: again, after a pause.
  using Expire = std::function<arrow::Status(const std::string& application,
                                             const std::string& session)>;

  /// `is_open` keeps a session from expiring that was opened anew under the same id.
  SessionExpiry(std::chrono::milliseconds ttl, const Clock* clock, Expire expire,
                std::function<bool(const std::string&)> is_open);
  /// What is not due yet stays undone; a callback that runs is waited for.
  ~SessionExpiry();
  SessionExpiry(const SessionExpiry&) = delete;
  SessionExpiry& operator=(const SessionExpiry&) = delete;

  /// A session that is closed, or was found closed at a start.
  void Add(const v1::Session& session);

 private:
  struct Due {
    std::string application, session;
    std::chrono::milliseconds pause{0};  // After the last failure.
  };

  void Run();

  const std::chrono::milliseconds ttl_;
  const Clock* const clock_;
  const Expire expire_;
  const std::function<bool(const std::string&)> is_open_;

  Mutex mutex_;
  CondVar changed_;
  std::multimap<int64_t, Due> due_ GUARDED_BY(mutex_);  // By wall clock, ms.
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::thread thread_;  // Constant after construction.
};

}  // namespace flame
