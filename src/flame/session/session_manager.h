// SessionManager: the state machine of applications, sessions and tasks, and who works on
// what. The door (frontend.h) asks it, executors (executor.h) fetch their work from it;
// every rule about states is here.
//
// A change is acknowledged only after the store has it. What is not a promise to anybody
// is not stored: that a task is running is known in memory only, so after a restart it is
// pending again and runs anew. docs/internals/sessions.md has the states.
//
// Thread-safe. One lock guards everything and is held while the store writes: a write is
// a copy into the system's memory (microseconds), and its order must be that of the
// changes. Task payloads are read without it. No callback runs under it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include <arrow/result.h>

#include "flame/base/clock.h"
#include "flame/base/mutex.h"
#include "flame/session/scheduler.h"
#include "flame/session/session_store.h"
#include "flame/v1/types.pb.h"

namespace flame {

struct SessionManagerOptions {
  std::string node = "localhost";  // The name of this machine.
  /// What one instance takes when its session does not say.
  Resources default_instance{1, uint64_t{1} << 30, 0};
  NodeLimits limits;
  /// Sessions that are remembered; the longest closed ones make room. 0 = no limit.
  uint64_t max_sessions = 0;
  /// Instances of one session that may fail to start before it gets no more.
  uint64_t retry_limit = 5;
  /// The pause before another try.
  std::chrono::milliseconds retry_pause{100};
  /// How long nothing may move in a session before it is stalled (scheduler.h).
  std::chrono::milliseconds stall{500};
};

/// What an executor is to do: start an instance of the application for the session.
struct Assignment {
  std::string executor;  // Its id, a UUID.
  v1::Application application;
  std::string session;
  std::optional<std::string> common_data;
};

/// One task, for an instance.
struct TaskWork {
  std::string id;
  std::string session;
  std::optional<std::string> input;
};

/// What came of a task.
struct TaskOutcome {
  bool succeeded = false;
  std::optional<std::string> output;
  /// Why it failed, for people: the service's own words. Empty = the usual text.
  std::string message;
};

/// Why a bind failed; the numbers are known to callers.
enum class BindFailure { kInstall = 10, kLaunch = 11, kSessionEnter = 12, kOther = 19 };

/// Hears that a task has changed, and asks the manager then what it is now, so that a
/// slow listener skips states and never holds any back. Called without locks, by any
/// thread.
class TaskListener {
 public:
  virtual ~TaskListener() = default;
  /// `state` is what it was changed to; it may have been changed again.
  virtual void OnTaskChanged(const std::string& session, uint64_t task,
                             v1::TaskState state) = 0;
};

class SessionManager {
 public:
  /// Starts an executor for the assignment; returns at once. Called by one thread.
  using Launch = std::function<void(Assignment)>;

  /// With the applications, sessions and tasks of `store`, and the start-up applications
  /// where they are missing. `clock` is borrowed and outlives the manager.
  static arrow::Result<std::unique_ptr<SessionManager>> Open(
      std::unique_ptr<SessionStore> store, const Clock* clock,
      SessionManagerOptions options);
  /// REQUIRES: Stop() was called if Start() was.
  ~SessionManager();

  /// `listener` hears of every session that is closed, without locks, before the client
  /// does. REQUIRES: before Start() and before the door opens.
  void OnSessionClosed(std::function<void(const std::string&)> listener) {
    session_closed_ = std::move(listener);
  }
  /// `listener` hears of every application, in the order of their registration, and from
  /// now on of each that is registered or updated; without locks, while the manager
  /// lives.
  void OnRegistered(std::function<void(const v1::Application&)> listener);
  /// From now on instances are started.
  void Start(Launch launch);
  /// Take no more work, let what runs end until `deadline` (of the boot clock, ms), and
  /// tell every executor to leave. What still runs then counts as not started; call
  /// Abandon() and end the executors. True when nothing is left.
  bool Drain(int64_t deadline_ms);
  /// Results that come from now on are not taken.
  void Abandon();
  /// REQUIRES: no executor is left.
  void Stop();

  // Applications.
  arrow::Status RegisterApplication(const std::string& name, v1::ApplicationSpec spec);
  arrow::Status UpdateApplication(const std::string& name, v1::ApplicationSpec spec);
  /// With its closed sessions. Refused while one is open.
  arrow::Status UnregisterApplication(const std::string& name);
  arrow::Result<v1::Application> GetApplication(const std::string& name) const;
  std::vector<v1::Application> ListApplications() const;

  // Sessions.
  arrow::Result<v1::Session> CreateSession(const std::string& id, v1::SessionSpec spec);
  /// Without `spec` the session must be there and open; with one it is created, or its
  /// own must be the same (common data apart).
  arrow::Result<v1::Session> OpenSession(const std::string& id,
                                         std::optional<v1::SessionSpec> spec);
  /// Waiting tasks are cancelled; refused while one runs. Again is fine.
  arrow::Result<v1::Session> CloseSession(const std::string& id);
  arrow::Result<v1::Session> DeleteSession(const std::string& id);
  arrow::Result<v1::Session> GetSession(const std::string& id) const;
  bool IsOpen(const std::string& id) const;
  /// In the order of their creation. Common data is left out of those that would make the
  /// answer larger than `bytes`.
  std::vector<v1::Session> ListSessions(const std::string* application,
                                        const v1::SessionState* state,
                                        int64_t bytes) const;

  // Tasks.
  /// `listener`, if there is one, is told of every change that follows.
  arrow::Result<v1::Task> CreateTask(v1::TaskSpec spec,
                                     std::weak_ptr<TaskListener> listener = {});
  /// The output of a task that has succeeded; nullopt where there is none.
  arrow::Result<std::optional<std::string>> GetOutput(const std::string& session,
                                                      uint64_t id) const;
  arrow::Result<v1::Task> GetTask(const std::string& session, uint64_t id) const;
  /// The first after `after` (0 = of all); nullopt = there is no more.
  arrow::Result<std::optional<v1::Task>> NextTask(const std::string& session,
                                                  uint64_t* after) const;
  /// kNotFound like GetTask(). `listener` is told of every change from now on, and of the
  /// end of the task's session, until it goes.
  arrow::Status Listen(const std::string& session, uint64_t task,
                       std::weak_ptr<TaskListener> listener);

  // What runs, and where.
  std::vector<v1::Executor> ListExecutors() const;
  v1::Node Node() const;

  // For executors. `executor` is the id of the assignment; one that is not known any more
  // is told to leave.

  /// The instance has entered its session.
  void Bound(const std::string& executor);
  /// It could not be started; `detail` is for people.
  void BindFailed(const std::string& executor, BindFailure failure,
                  const std::string& detail);
  enum class Next { kTask, kLeave, kNothing };
  /// Wait up to `patience` for something to do. A task is the executor's until it calls
  /// Complete() or GiveBack().
  Next AwaitWork(const std::string& executor, std::chrono::milliseconds patience,
                 TaskWork* work);
  /// An error: it could not be stored; try again.
  arrow::Status Complete(const std::string& executor, TaskOutcome outcome);
  /// The task certainly never reached the instance: somebody else shall do it.
  void GiveBack(const std::string& executor);
  /// The instance died without a task. Counts as a failed start.
  void Died(const std::string& executor, const std::string& detail);
  /// It need not start any more, nor wait for work.
  bool MustLeave(const std::string& executor);
  /// Nothing is left of it.
  void Released(const std::string& executor);

 private:
  struct Executor;

  struct Session {
    StoredSession stored;
    std::vector<v1::TaskState> tasks;        // By id - 1.
    std::array<int64_t, 5> counts{};         // By state.
    std::set<uint64_t> waiting;              // Pending ones, the lowest id first.
    std::map<uint64_t, int64_t> started_ms;  // Running ones, wall clock.
    std::vector<Executor*> idle;             // The one that worked last is last.
    std::unordered_map<uint64_t, std::vector<std::weak_ptr<TaskListener>>> listeners;
    uint64_t failed_starts = 0;
    int64_t not_before_ms = 0;  // Boot clock: when the next try may be.
    int64_t moved_ms = 0;       // Boot clock: when something went on last.
    bool deleted = false;

    const std::string& id() const { return stored.session.metadata().id(); }
    const v1::SessionSpec& spec() const { return stored.session.spec(); }
    bool open() const { return stored.session.status().state() == v1::Open; }
  };
  using SessionPtr = std::shared_ptr<Session>;

  struct Executor {
    std::string id;
    SessionPtr session;
    Resources resources;
    v1::ExecutorState state = v1::ExecutorBinding;
    uint64_t task = 0;  // 0 = none.
    bool leave = false;
    int64_t idle_since_ms = 0;
    std::chrono::milliseconds delay_release{0};
    CondVar wake;
  };

  /// Listeners to call once the lock is released.
  class Notifications;

  SessionManager(std::unique_ptr<SessionStore> store, const Clock* clock,
                 SessionManagerOptions options)
      : options_(std::move(options)), clock_(clock), store_(std::move(store)) {}

  arrow::Status Load();
  arrow::Status CheckTaking() const REQUIRES(mutex_);

  // Applications.
  arrow::Result<v1::Application> NewApplication(const std::string& name,
                                                v1::ApplicationSpec spec) const;
  bool HasOpenSession(const std::string& application) const REQUIRES(mutex_);

  // Sessions.
  arrow::Result<SessionPtr> Find(const std::string& id) const REQUIRES(mutex_);
  void ResolveResources(v1::SessionSpec* spec) const;
  arrow::Result<v1::Session> CreateLocked(const std::string& id, v1::SessionSpec spec)
      REQUIRES(mutex_);
  arrow::Result<v1::Session> CloseLocked(const std::string& id,
                                         Notifications* notifications) REQUIRES(mutex_);
  arrow::Status DeleteLocked(const SessionPtr& session, Notifications* notifications)
      REQUIRES(mutex_);
  arrow::Status MakeRoomForSession(Notifications* notifications) REQUIRES(mutex_);
  v1::Session Snapshot(const Session& session, bool with_common_data = true) const;
  void AddEvents(Session* session, const std::vector<v1::Event>& events) REQUIRES(mutex_);
  v1::Event NewEvent(int32_t code, std::string message) const;

  // Tasks.
  void SetState(Session* session, uint64_t id, v1::TaskState state) REQUIRES(mutex_);
  arrow::Result<v1::Task> ReadRecord(const Session& session, uint64_t id) const;
  void CollectListeners(Session* session, uint64_t id, Notifications* notifications)
      REQUIRES(mutex_);
  void AssignWaiting(Session* session, Notifications* notifications) REQUIRES(mutex_);
  void TakeBack(Executor* executor, Notifications* notifications) REQUIRES(mutex_);

  // Executors.
  Executor* FindExecutor(const std::string& id) REQUIRES(mutex_);
  void TellToLeave(Executor* executor) REQUIRES(mutex_);
  void RemoveFromIdle(Executor* executor) REQUIRES(mutex_);
  bool MayLeave(const Executor& executor) const REQUIRES(mutex_);
  arrow::Status ReadInput(uint64_t serial, uint64_t id, TaskWork* work) const;
  void StartFailed(Executor* executor, const std::string& what) REQUIRES(mutex_);

  // Scheduling, on a thread of its own.
  void WakeScheduler() REQUIRES(mutex_);
  void ScheduleLoop();
  std::vector<Assignment> Schedule(int64_t* again_ms) REQUIRES(mutex_);

  const SessionManagerOptions options_;
  const Clock* const clock_;
  const std::unique_ptr<SessionStore> store_;
  std::function<void(const std::string&)> session_closed_;  // Constant after Start().
  Launch launch_;                                           // Constant after Start().
  std::thread scheduler_;                                   // Constant after Start().

  mutable Mutex mutex_;
  CondVar schedule_wake_;
  CondVar executors_gone_;
  std::map<std::string, v1::Application, std::less<>> applications_ GUARDED_BY(mutex_);
  std::map<uint64_t, SessionPtr> sessions_ GUARDED_BY(mutex_);  // By serial.
  /// Copied, to be called without the lock.
  std::function<void(const v1::Application&)> registered_ GUARDED_BY(mutex_);
  std::unordered_map<std::string, SessionPtr> by_id_ GUARDED_BY(mutex_);
  std::map<uint64_t, SessionPtr> open_ GUARDED_BY(mutex_);  // Of sessions_, by serial.
  std::map<std::string, std::unique_ptr<Executor>, std::less<>> executors_
      GUARDED_BY(mutex_);
  uint64_t next_serial_ GUARDED_BY(mutex_) = 1;
  bool schedule_ GUARDED_BY(mutex_) = false;
  bool draining_ GUARDED_BY(mutex_) = false;
  bool abandoned_ GUARDED_BY(mutex_) = false;
  bool stopped_ GUARDED_BY(mutex_) = false;
};

}  // namespace flame
