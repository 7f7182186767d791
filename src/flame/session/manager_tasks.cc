// SessionManager: tasks, from the clients' side.
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/session/manager_internal.h"
#include "flame/session/refusal.h"

namespace flame {
namespace {

using arrow::Status;

Status TaskNotFound(const std::string& session, uint64_t id) {
  return NotFoundRefusal(fmt::format("Task {} of session {} not found", id, session));
}

}  // namespace

void SessionManager::SetState(Session* session, uint64_t id, v1::TaskState state) {
  v1::TaskState& current = session->tasks[id - 1];
  --session->counts[static_cast<size_t>(current)];
  ++session->counts[static_cast<size_t>(state)];
  current = state;
}

/// What is stored of a task, to be changed and written back. A record that is damaged or
/// gone is made anew: the task must be able to end all the same.
arrow::Result<v1::Task> SessionManager::ReadRecord(const Session& session,
                                                   uint64_t id) const {
  auto task = store_->ReadTask(session.stored.serial, id, /*payloads=*/false);
  if (task.ok() && *task) return **std::move(task);
  if (!task.ok() && !IsError(task.status(), ErrorCode::kCorrupt)) return task.status();
  FLAME_LOG_ERROR(session, "session {}: the record of task {} is damaged", session.id(),
                  id);
  v1::Task made;
  made.mutable_metadata()->set_id(std::to_string(id));
  made.mutable_status()->set_creation_time(clock_->WallMs());
  return made;
}

void SessionManager::CollectListeners(Session* session, uint64_t id,
                                      Notifications* notifications) {
  const auto found = session->listeners.find(id);
  if (found == session->listeners.end()) return;
  std::erase_if(found->second, [&](const std::weak_ptr<TaskListener>& weak) {
    auto listener = weak.lock();
    if (!listener) return true;
    notifications->Add(std::move(listener), session->id(), id, session->tasks[id - 1]);
    return false;
  });
  // Nothing happens to it any more.
  if (found->second.empty() || IsTerminal(session->tasks[id - 1]))
    session->listeners.erase(found);
}

arrow::Result<v1::Task> SessionManager::CreateTask(v1::TaskSpec spec,
                                                   std::weak_ptr<TaskListener> listener) {
  v1::Task task;
  *task.mutable_spec() = std::move(spec);
  task.mutable_spec()->clear_output();
  auto* status = task.mutable_status();
  status->set_state(v1::Pending);
  status->set_creation_time(clock_->WallMs());
  *status->add_events() = NewEvent(v1::Pending, "Task was created with state <Pending>");

  Notifications notifications;
  MutexLock lock(mutex_);
  ARROW_RETURN_NOT_OK(CheckTaking());
  ARROW_ASSIGN_OR_RAISE(const SessionPtr session, Find(task.spec().session_id()));
  if (!session->open()) return InvalidRefusal("Cannot create task in closed session");
  const uint64_t id = session->tasks.size() + 1;
  task.mutable_metadata()->set_id(std::to_string(id));
  task.mutable_metadata()->set_name(std::to_string(id));
  ARROW_RETURN_NOT_OK(store_->CreateTask(session->stored.serial, id, task));
  session->tasks.push_back(v1::Pending);
  ++session->counts[v1::Pending];
  session->waiting.insert(id);
  if (!listener.expired()) session->listeners[id].push_back(std::move(listener));
  AssignWaiting(session.get(), &notifications);
  if (!session->waiting.empty()) WakeScheduler();
  return task;
}

arrow::Result<v1::Task> SessionManager::GetTask(const std::string& session_id,
                                                uint64_t id) const {
  uint64_t serial = 0;
  v1::TaskState state = v1::Pending;
  int64_t started_ms = 0;
  {
    MutexLock lock(mutex_);
    ARROW_ASSIGN_OR_RAISE(const SessionPtr session, Find(session_id));
    if (id == 0 || id > session->tasks.size()) return TaskNotFound(session_id, id);
    serial = session->stored.serial;
    state = session->tasks[id - 1];
    if (state == v1::Running) started_ms = session->started_ms.at(id);
  }
  ARROW_ASSIGN_OR_RAISE(auto task, store_->ReadTask(serial, id));
  if (!task) return TaskNotFound(session_id, id);
  task->mutable_spec()->set_session_id(session_id);
  // What is stored may be newer than what was seen above, but then it is final.
  if (task->status().state() == v1::Pending && state == v1::Running) {
    task->mutable_status()->set_state(v1::Running);
    auto* event = task->mutable_status()->add_events();
    event->set_code(v1::Running);
    event->set_message("Task state was updated to <Running>");
    event->set_creation_time(started_ms);
  }
  return *std::move(task);
}

arrow::Result<std::optional<std::string>> SessionManager::GetOutput(
    const std::string& session_id, uint64_t id) const {
  uint64_t serial = 0;
  {
    MutexLock lock(mutex_);
    ARROW_ASSIGN_OR_RAISE(const SessionPtr session, Find(session_id));
    serial = session->stored.serial;
  }
  return store_->ReadOutput(serial, id);
}

arrow::Result<std::optional<v1::Task>> SessionManager::NextTask(
    const std::string& session_id, uint64_t* after) const {
  {
    MutexLock lock(mutex_);
    ARROW_ASSIGN_OR_RAISE(const SessionPtr session, Find(session_id));
    if (*after >= session->tasks.size()) return std::nullopt;
  }
  ++*after;
  ARROW_ASSIGN_OR_RAISE(auto task, GetTask(session_id, *after));
  return task;
}

Status SessionManager::Listen(const std::string& session_id, uint64_t task,
                              std::weak_ptr<TaskListener> listener) {
  MutexLock lock(mutex_);
  ARROW_ASSIGN_OR_RAISE(const SessionPtr session, Find(session_id));
  if (task == 0 || task > session->tasks.size()) return TaskNotFound(session_id, task);
  if (IsTerminal(session->tasks[task - 1])) return Status::OK();
  auto& listeners = session->listeners[task];
  // A task may wait for long while clients come and go.
  std::erase_if(listeners, [](const auto& weak) { return weak.expired(); });
  listeners.push_back(std::move(listener));
  return Status::OK();
}

}  // namespace flame
