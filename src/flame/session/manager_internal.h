// What the parts of SessionManager (session_manager.h) share. Internal to session/.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "flame/session/session_manager.h"

namespace flame {

/// Declare it before the lock: it calls the listeners when the lock is gone.
class SessionManager::Notifications {
 public:
  Notifications() = default;
  Notifications(const Notifications&) = delete;
  Notifications& operator=(const Notifications&) = delete;
  ~Notifications() {
    for (const Call& call : calls_)
      call.listener->OnTaskChanged(call.session, call.task, call.state);
  }
  void Add(std::shared_ptr<TaskListener> listener, const std::string& session,
           uint64_t task, v1::TaskState state) {
    calls_.push_back({std::move(listener), session, task, state});
  }

 private:
  struct Call {
    std::shared_ptr<TaskListener> listener;
    std::string session;
    uint64_t task;
    v1::TaskState state;
  };
  std::vector<Call> calls_;
};

inline bool IsTerminal(v1::TaskState state) {
  return state == v1::Succeed || state == v1::Failed || state == v1::Cancelled;
}

}  // namespace flame
