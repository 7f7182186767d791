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
#include <optional>
#include <string>
#include <thread>

#include "flame/base/mutex.h"
#include "flame/session/instance_logs.h"
#include "flame/session/launch.h"
#include "flame/session/packages.h"
#include "flame/session/session_manager.h"
#include "flame/session/spares.h"

namespace flame {

struct ExecutorOptions {
  LaunchOptions launch;
  PackageOptions packages;
  SpareOptions spares;
  /// From the start of the process until it accepts connections: imports are slow.
  std::chrono::milliseconds start_timeout = std::chrono::seconds(120);
  /// For OnSessionEnter, which may load a model.
  std::chrono::milliseconds enter_timeout = std::chrono::minutes(10);
  /// For OnSessionLeave, and then for the process to go after SIGTERM.
  std::chrono::milliseconds leave_timeout = std::chrono::seconds(5);
  std::chrono::milliseconds kill_grace = std::chrono::seconds(5);
  /// Standard output and error of an instance are cut when either grows beyond this.
  int64_t output_limit = 64 << 20;
  /// Bytes of an answer of an instance; -1 = no limit.
  int max_reply = -1;
};

class ExecutorPool {
 public:
  /// `manager` and `logs` are borrowed and outlive the pool.
  ExecutorPool(ExecutorOptions options, SessionManager* manager, InstanceLogs* logs);
  /// EndAll(), and waits.
  ~ExecutorPool();

  /// What services are told the manager's address is. REQUIRES: before Launch().
  void SetEndpoint(std::string endpoint);
  /// The next session may be one of this application. REQUIRES: after SetEndpoint().
  void Guess(const v1::Application& application) { spares_->Guess(application.spec()); }
  /// Returns at once; the manager hears of the rest.
  void Launch(Assignment assignment);
  /// Kill every instance without a word, whatever it does.
  void EndAll() { ending_ = true; }
  /// For SessionManager::OnSessionClosed().
  void SessionClosed(const std::string& session) { packages_.SessionClosed(session); }

 private:
  struct Running {
    std::thread thread;
    std::atomic<bool> done{false};
  };

  ExecutorOptions options_;  // Constant after SetEndpoint().
  SessionManager* const manager_;
  InstanceLogs* const logs_;
  std::atomic<bool> ending_{false};
  Packages packages_;
  std::optional<Spares> spares_;  // Constant after SetEndpoint().

  Mutex mutex_;
  std::list<Running> running_ GUARDED_BY(mutex_);
};

}  // namespace flame
