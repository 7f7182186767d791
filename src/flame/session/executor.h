// ExecutorPool: an executor for each assignment. An executor is a thread that starts one
// service process for one session, hands it one task at a time, and ends it: it never
// serves a second session. What happens when is in docs/internals/sessions.md.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <thread>

#include "flame/base/mutex.h"
#include "flame/session/launch.h"
#include "flame/session/session_manager.h"

namespace flame {

struct ExecutorOptions {
  LaunchOptions launch;
  /// From the start of the process until it accepts connections: imports are slow.
  std::chrono::milliseconds start_timeout = std::chrono::seconds(120);
  /// For OnSessionEnter, which may load a model.
  std::chrono::milliseconds enter_timeout = std::chrono::minutes(10);
  /// For OnSessionLeave, and then for the process to go after SIGTERM.
  std::chrono::milliseconds leave_timeout = std::chrono::seconds(5);
  std::chrono::milliseconds kill_grace = std::chrono::seconds(5);
  /// Standard output and error of an instance are cut when either grows beyond this.
  int64_t output_limit = 64 << 20;
};

class ExecutorPool {
 public:
  /// `manager` is borrowed and outlives the pool.
  ExecutorPool(ExecutorOptions options, SessionManager* manager)
      : options_(std::move(options)), manager_(manager) {}
  /// EndAll(), and waits.
  ~ExecutorPool();

  /// Returns at once; the manager hears of the rest.
  void Launch(Assignment assignment);
  /// Kill every instance without a word, whatever it does.
  void EndAll() { ending_ = true; }

 private:
  struct Running {
    std::thread thread;
    std::atomic<bool> done{false};
  };

  const ExecutorOptions options_;
  SessionManager* const manager_;
  std::atomic<bool> ending_{false};

  Mutex mutex_;
  std::list<Running> running_ GUARDED_BY(mutex_);
};

}  // namespace flame
