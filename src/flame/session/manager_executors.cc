// SessionManager: who works on what, and the scheduler's thread.
#include <algorithm>

#include <fmt/format.h>

#include "flame/base/log.h"
#include "flame/session/manager_internal.h"
#include "flame/session/refusal.h"
#include "flame/storage/uuid.h"

namespace flame {
namespace {

using arrow::Status;
using std::chrono::milliseconds;

constexpr int32_t kStartFailedEvent = 1001;
constexpr int32_t kRetryLimitEvent = 1002;
/// How often somebody who lacks room is looked at again.
constexpr milliseconds kStarvedPause{100};

}  // namespace

SessionManager::Executor* SessionManager::FindExecutor(const std::string& id) {
  const auto found = executors_.find(id);
  return found == executors_.end() ? nullptr : found->second.get();
}

void SessionManager::RemoveFromIdle(Executor* executor) {
  std::erase(executor->session->idle, executor);
}

void SessionManager::TellToLeave(Executor* executor) {
  executor->leave = true;
  RemoveFromIdle(executor);
  executor->wake.NotifyAll();
}

bool SessionManager::MayLeave(const Executor& executor) const {
  const Session& session = *executor.session;
  const uint64_t min = std::min<uint64_t>(session.spec().min_instances(),
                                          session.spec().has_max_instances()
                                              ? session.spec().max_instances()
                                              : session.spec().min_instances());
  uint64_t staying = 0;
  for (const auto& [id, other] : executors_) {
    if (other->session == executor.session && !other->leave) ++staying;
  }
  return staying > min;
}

void SessionManager::AssignWaiting(Session* session, Notifications* notifications) {
  while (!session->waiting.empty() && !session->idle.empty()) {
    Executor* executor = session->idle.back();
    session->idle.pop_back();
    const uint64_t id = *session->waiting.begin();
    session->waiting.erase(session->waiting.begin());
    executor->task = id;
    session->started_ms[id] = clock_->WallMs();
    session->moved_ms = clock_->BootMs();
    SetState(session, id, v1::Running);
    CollectListeners(session, id, notifications);
    executor->wake.NotifyAll();
  }
}

void SessionManager::TakeBack(Executor* executor, Notifications* notifications) {
  const uint64_t id = std::exchange(executor->task, 0);
  if (id == 0) return;
  Session* session = executor->session.get();
  session->started_ms.erase(id);
  SetState(session, id, v1::Pending);
  session->waiting.insert(id);
  CollectListeners(session, id, notifications);
  AssignWaiting(session, notifications);
  WakeScheduler();
}

void SessionManager::Bound(const std::string& id) {
  MutexLock lock(mutex_);
  Executor* executor = FindExecutor(id);
  if (executor == nullptr) return;
  executor->state = v1::ExecutorBound;
  executor->session->moved_ms = clock_->BootMs();
}

bool SessionManager::MustLeave(const std::string& id) {
  MutexLock lock(mutex_);
  const Executor* executor = FindExecutor(id);
  return executor == nullptr || executor->leave;
}

Status SessionManager::ReadInput(uint64_t serial, uint64_t id, TaskWork* work) const {
  return store_->ReadInput(serial, id).Value(&work->input);
}

SessionManager::Next SessionManager::AwaitWork(const std::string& id,
                                               milliseconds patience, TaskWork* work) {
  uint64_t serial = 0;
  uint64_t task = 0;
  {
    Notifications notifications;
    MutexLock lock(mutex_);
    Executor* executor = FindExecutor(id);
    if (executor == nullptr) return Next::kLeave;
    Session* session = executor->session.get();
    if (!executor->leave && executor->task == 0 &&
        std::find(session->idle.begin(), session->idle.end(), executor) ==
            session->idle.end()) {
      session->idle.push_back(executor);
      executor->idle_since_ms = clock_->BootMs();
      AssignWaiting(session, &notifications);
      // Somebody may wait for the room of an idle one.
      if (executor->task == 0) WakeScheduler();
    }
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (executor->task == 0 && !executor->leave) {
      const milliseconds rest = milliseconds(executor->idle_since_ms) +
                                executor->delay_release - milliseconds(clock_->BootMs());
      const bool may_leave = MayLeave(*executor);
      if (rest.count() <= 0 && may_leave) {
        TellToLeave(executor);
        break;
      }
      const auto now = std::chrono::steady_clock::now();
      if (now >= deadline) return Next::kNothing;
      executor->wake.WaitUntil(lock,
                               may_leave ? std::min(deadline, now + rest) : deadline);
    }
    if (executor->task == 0) {
      executor->state = v1::ExecutorUnbinding;
      return Next::kLeave;
    }
    task = executor->task;
    serial = session->stored.serial;
    work->session = session->id();
  }
  work->id = std::to_string(task);
  work->input.reset();
  const Status read = ReadInput(serial, task, work);
  if (read.ok()) return Next::kTask;
  const Status failed = Complete(
      id, {.succeeded = false,
           .output = {},
           .message = "the input of the task cannot be read: " + read.message()});
  if (!failed.ok()) GiveBack(id);
  return Next::kNothing;
}

Status SessionManager::Complete(const std::string& id, TaskOutcome outcome) {
  Notifications notifications;
  MutexLock lock(mutex_);
  Executor* executor = FindExecutor(id);
  if (abandoned_ || executor == nullptr || executor->task == 0) return Status::OK();
  Session* session = executor->session.get();
  const uint64_t task_id = executor->task;
  ARROW_ASSIGN_OR_RAISE(v1::Task task, ReadRecord(*session, task_id));
  auto* status = task.mutable_status();
  const v1::TaskState state = outcome.succeeded ? v1::Succeed : v1::Failed;
  status->set_state(state);
  status->set_completion_time(clock_->WallMs());
  v1::Event running = NewEvent(v1::Running, "Task state was updated to <Running>");
  running.set_creation_time(session->started_ms.at(task_id));
  *status->add_events() = std::move(running);
  std::string message = "Task was completed with state <Succeed>";
  if (!outcome.succeeded) {
    message = outcome.message.empty() ? "Task failed with state <Failed>"
                                      : std::move(outcome.message);
  }
  *status->add_events() = NewEvent(state, std::move(message));
  if (outcome.succeeded && outcome.output)
    task.mutable_spec()->set_output(*std::move(outcome.output));
  ARROW_RETURN_NOT_OK(store_->FinishTask(session->stored.serial, task_id, task));
  executor->task = 0;
  session->started_ms.erase(task_id);
  session->moved_ms = clock_->BootMs();
  SetState(session, task_id, state);
  CollectListeners(session, task_id, &notifications);
  return Status::OK();
}

void SessionManager::GiveBack(const std::string& id) {
  Notifications notifications;
  MutexLock lock(mutex_);
  if (Executor* executor = FindExecutor(id)) TakeBack(executor, &notifications);
}

void SessionManager::StartFailed(Executor* executor, const std::string& what) {
  FLAME_LOG_WARN(session, "session {}: {}", executor->session->id(), what);
  Session* session = executor->session.get();
  TellToLeave(executor);
  executor->state = v1::ExecutorUnbinding;
  ++session->failed_starts;
  session->not_before_ms = clock_->BootMs() + options_.retry_pause.count();
  std::vector<v1::Event> events{NewEvent(kStartFailedEvent, what)};
  if (session->failed_starts == options_.retry_limit) {
    events.push_back(NewEvent(
        kRetryLimitEvent,
        fmt::format("Session retry limit reached after {}/{} failed attempts; new "
                    "executor assignment is paused; mend the application, then close the "
                    "session and open another one",
                    session->failed_starts, options_.retry_limit)));
  }
  AddEvents(session, events);
}

void SessionManager::BindFailed(const std::string& id, BindFailure failure,
                                const std::string& detail) {
  MutexLock lock(mutex_);
  Executor* executor = FindExecutor(id);
  if (executor == nullptr) return;
  StartFailed(executor,
              fmt::format("Executor {} on node {} failed to bind session with "
                          "return_code {}: {}",
                          id, options_.node, static_cast<int>(failure), detail));
}

void SessionManager::Died(const std::string& id, const std::string& detail) {
  Notifications notifications;
  MutexLock lock(mutex_);
  Executor* executor = FindExecutor(id);
  if (executor == nullptr) return;
  TakeBack(executor, &notifications);
  StartFailed(executor, fmt::format("Executor {} on node {} lost its idle instance: {}",
                                    id, options_.node, detail));
}

void SessionManager::Released(const std::string& id) {
  Notifications notifications;
  MutexLock lock(mutex_);
  Executor* executor = FindExecutor(id);
  if (executor == nullptr) return;
  RemoveFromIdle(executor);
  TakeBack(executor, &notifications);
  executors_.erase(id);
  if (executors_.empty()) executors_gone_.NotifyAll();
  WakeScheduler();
}

void SessionManager::WakeScheduler() {
  schedule_ = true;
  schedule_wake_.NotifyAll();
}

void SessionManager::ScheduleLoop() {
  // 0 = only when something happens.
  int64_t again_ms = 1;  // There may be work from before a restart.
  for (;;) {
    std::vector<Assignment> assignments;
    {
      MutexLock lock(mutex_);
      const auto deadline = std::chrono::steady_clock::now() + milliseconds(again_ms);
      while (!schedule_ && !stopped_) {
        if (again_ms == 0) {
          schedule_wake_.Wait(lock);
        } else if (!schedule_wake_.WaitUntil(lock, deadline)) {
          break;
        }
      }
      if (stopped_) return;
      schedule_ = false;
      again_ms = 0;
      if (!draining_) assignments = Schedule(&again_ms);
    }
    for (Assignment& assignment : assignments) launch_(std::move(assignment));
  }
}

std::vector<Assignment> SessionManager::Schedule(int64_t* again_ms) {
  const int64_t now = clock_->BootMs();
  const auto look_again = [again_ms](int64_t in_ms) {
    if (*again_ms == 0 || in_ms < *again_ms) *again_ms = std::max<int64_t>(1, in_ms);
  };
  std::vector<SessionDemand> demands;
  std::vector<SessionPtr> sessions;
  std::unordered_map<const Session*, size_t> index;
  for (const auto& [serial, session] : open_) {
    const v1::SessionSpec& spec = session->spec();
    const v1::Application& application = applications_.find(spec.application())->second;
    if (application.spec().shim() != v1::Host) continue;
    SessionDemand demand;
    demand.priority = spec.priority();
    demand.serial = serial;
    demand.per_instance = {spec.resreq().cpu(), spec.resreq().memory(),
                           static_cast<uint64_t>(std::max(0, spec.resreq().gpu()))};
    demand.waiting = session->waiting.size();
    demand.running = static_cast<uint64_t>(session->counts[v1::Running]);
    demand.min = spec.min_instances();
    demand.max = application.spec().max_instances();
    if (spec.has_max_instances())
      demand.max = std::min<uint64_t>(demand.max, spec.max_instances());
    if (session->failed_starts >= options_.retry_limit) {
      demand.max = 0;
    } else if (session->not_before_ms > now && (demand.waiting > 0 || demand.min > 0)) {
      demand.max = 0;
      look_again(session->not_before_ms - now);
    }
    demand.stalled =
        demand.waiting > 0 && now - session->moved_ms >= options_.stall.count();
    index.emplace(session.get(), demands.size());
    demands.push_back(demand);
    sessions.push_back(session);
  }
  std::vector<InstanceUse> instances;
  std::vector<Executor*> executors;
  for (const auto& [id, executor] : executors_) {
    InstanceUse use;
    const auto at = index.find(executor->session.get());
    use.resources = executor->resources;
    use.idle_since_ms = executor->idle_since_ms;
    if (executor->leave || at == index.end()) {
      use.state = InstanceUse::State::kLeaving;
    } else {
      use.session = at->second;
      use.state = executor->task != 0                      ? InstanceUse::State::kWorking
                  : executor->state == v1::ExecutorBinding ? InstanceUse::State::kStarting
                                                           : InstanceUse::State::kIdle;
    }
    instances.push_back(use);
    executors.push_back(executor.get());
  }
  const Plan plan = MakePlan(demands, instances, options_.limits);
  if (plan.starved) look_again(kStarvedPause.count());
  for (const size_t victim : plan.reclaims) TellToLeave(executors[victim]);
  std::vector<Assignment> assignments;
  for (const size_t start : plan.starts) {
    const SessionPtr& session = sessions[start];
    const v1::Application& application =
        applications_.find(session->spec().application())->second;
    auto executor = std::make_unique<Executor>();
    executor->id = NewUuid();
    executor->session = session;
    executor->resources = demands[start].per_instance;
    executor->delay_release = std::chrono::seconds(std::clamp<int64_t>(
        application.spec().delay_release(), 0, int64_t{10} * 365 * 24 * 3600));
    Assignment assignment{executor->id, application, session->id(), std::nullopt};
    if (session->spec().has_common_data())
      assignment.common_data = session->spec().common_data();
    assignments.push_back(std::move(assignment));
    executors_.emplace(executor->id, std::move(executor));
  }
  return assignments;
}

}  // namespace flame
