// SessionManager: sessions.
#include <algorithm>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/session/manager_internal.h"
#include "flame/session/names.h"
#include "flame/session/refusal.h"
#include "flame/session/text.h"

namespace flame {
namespace {

using arrow::Status;

constexpr size_t kMaxEventText = 1 << 20;

std::string Format(const v1::ResourceRequirement& resources) {
  return fmt::format("cpu={},mem={},gpu={}", resources.cpu(), resources.memory(),
                     resources.gpu());
}

std::string FormatMax(const v1::SessionSpec& spec) {
  return spec.has_max_instances() ? std::to_string(spec.max_instances()) : "unlimited";
}

/// The first field that differs; common data is not compared, so that a task can open its
/// own session with a context of its own.
Status CheckSameSpec(const std::string& id, const v1::SessionSpec& stored,
                     const v1::SessionSpec& offered) {
  const auto mismatch = [&](std::string_view field, const auto& expected,
                            const auto& got) {
    return InvalidRefusal(
        fmt::format("session {} spec mismatch: {} differs (expected {}, got {})", id,
                    field, expected, got));
  };
  if (stored.application() != offered.application())
    return mismatch("application", stored.application(), offered.application());
  if (const auto expected = Format(stored.resreq()), got = Format(offered.resreq());
      expected != got)
    return mismatch("resreq", expected, got);
  if (stored.min_instances() != offered.min_instances())
    return mismatch("min_instances", stored.min_instances(), offered.min_instances());
  if (const auto expected = FormatMax(stored), got = FormatMax(offered); expected != got)
    return mismatch("max_instances", expected, got);
  if (stored.priority() != offered.priority())
    return mismatch("priority", stored.priority(), offered.priority());
  return Status::OK();
}

}  // namespace

arrow::Result<SessionManager::SessionPtr> SessionManager::Find(
    const std::string& id) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end())
    return NotFoundRefusal(fmt::format("Session {} not found", id));
  return found->second;
}

void SessionManager::ResolveResources(v1::SessionSpec* spec) const {
  if (spec->has_resreq()) return;
  auto* resources = spec->mutable_resreq();
  resources->set_cpu(options_.default_instance.cpu);
  resources->set_memory(options_.default_instance.memory);
  resources->set_gpu(static_cast<int32_t>(options_.default_instance.gpu));
}

v1::Session SessionManager::Snapshot(const Session& session,
                                     bool with_common_data) const {
  v1::Session snapshot;
  *snapshot.mutable_metadata() = session.stored.session.metadata();
  *snapshot.mutable_status() = session.stored.session.status();
  const v1::SessionSpec& spec = session.spec();
  if (with_common_data) {
    *snapshot.mutable_spec() = spec;
  } else {
    auto* copy = snapshot.mutable_spec();
    copy->set_application(spec.application());
    copy->set_min_instances(spec.min_instances());
    if (spec.has_max_instances()) copy->set_max_instances(spec.max_instances());
    copy->set_batch_size(spec.batch_size());
    copy->set_priority(spec.priority());
    *copy->mutable_resreq() = spec.resreq();
  }
  auto* status = snapshot.mutable_status();
  const auto count = [&](v1::TaskState state) {
    return static_cast<int32_t>(session.counts[static_cast<size_t>(state)]);
  };
  status->set_pending(count(v1::Pending));
  status->set_running(count(v1::Running));
  status->set_succeed(count(v1::Succeed));
  status->set_failed(count(v1::Failed));
  status->set_cancelled(count(v1::Cancelled));
  return snapshot;
}

arrow::Result<v1::Session> SessionManager::CreateLocked(const std::string& id,
                                                        v1::SessionSpec spec) {
  const auto application = applications_.find(spec.application());
  if (application == applications_.end())
    return NotFoundRefusal(fmt::format("Application '{}' not found", spec.application()));
  if (application->second.status().state() != v1::Enabled)
    return InvalidRefusal(
        fmt::format("Application '{}' is disabled", spec.application()));
  if (by_id_.contains(id))
    return ExistsRefusal(fmt::format("Session '{}' already exists", id));
  auto session = std::make_shared<Session>();
  session->stored.serial = next_serial_;
  v1::Session& record = session->stored.session;
  record.mutable_metadata()->set_id(id);
  record.mutable_metadata()->set_name(id);
  *record.mutable_spec() = std::move(spec);
  record.mutable_status()->set_state(v1::Open);
  record.mutable_status()->set_creation_time(clock_->WallMs());
  ARROW_RETURN_NOT_OK(store_->PutSession(session->stored));
  session->moved_ms = clock_->BootMs();
  ++next_serial_;
  sessions_.emplace(session->stored.serial, session);
  by_id_.emplace(id, session);
  open_.emplace(session->stored.serial, session);
  if (session->spec().min_instances() > 0) WakeScheduler();
  return Snapshot(*session);
}

Status SessionManager::MakeRoomForSession(Notifications* notifications) {
  while (options_.max_sessions > 0 && sessions_.size() >= options_.max_sessions) {
    SessionPtr oldest;
    for (const auto& [serial, session] : sessions_) {
      if (session->open()) continue;
      if (!oldest || session->stored.session.status().completion_time() <
                         oldest->stored.session.status().completion_time())
        oldest = session;
    }
    if (!oldest) return Status::OK();  // Open ones are never forgotten.
    ARROW_RETURN_NOT_OK(DeleteLocked(oldest, notifications));
  }
  return Status::OK();
}

arrow::Result<v1::Session> SessionManager::CreateSession(const std::string& id,
                                                         v1::SessionSpec spec) {
  ARROW_RETURN_NOT_OK(CheckSessionId(id));
  ResolveResources(&spec);
  spec.set_batch_size(1);
  Notifications notifications;
  MutexLock lock(mutex_);
  ARROW_RETURN_NOT_OK(CheckTaking());
  ARROW_RETURN_NOT_OK(MakeRoomForSession(&notifications));
  return CreateLocked(id, std::move(spec));
}

arrow::Result<v1::Session> SessionManager::OpenSession(
    const std::string& id, std::optional<v1::SessionSpec> spec) {
  if (spec) {
    ARROW_RETURN_NOT_OK(CheckSessionId(id));
    ResolveResources(&*spec);
    spec->set_batch_size(1);
  }
  Notifications notifications;
  MutexLock lock(mutex_);
  const auto found = Find(id);
  if (!found.ok()) {
    if (!spec) return found.status();
    ARROW_RETURN_NOT_OK(CheckTaking());
    ARROW_RETURN_NOT_OK(MakeRoomForSession(&notifications));
    return CreateLocked(id, *std::move(spec));
  }
  if (!(*found)->open()) return InvalidRefusal(fmt::format("Session {} is not open", id));
  if (spec) ARROW_RETURN_NOT_OK(CheckSameSpec(id, (*found)->spec(), *spec));
  return Snapshot(**found);
}

arrow::Result<v1::Session> SessionManager::CloseSession(const std::string& id) {
  const auto closed = [&] {
    Notifications notifications;
    MutexLock lock(mutex_);
    return CloseLocked(id, &notifications);
  }();
  if (closed.ok() && session_closed_) session_closed_(id);
  return closed;
}

bool SessionManager::IsOpen(const std::string& id) const {
  MutexLock lock(mutex_);
  const auto found = by_id_.find(id);
  return found != by_id_.end() && found->second->open();
}

arrow::Result<v1::Session> SessionManager::CloseLocked(const std::string& id,
                                                       Notifications* notifications) {
  ARROW_ASSIGN_OR_RAISE(const SessionPtr session, Find(id));
  if (session->counts[v1::Running] > 0)
    return StateRefusal("Cannot close session with running tasks");
  const int64_t now = clock_->WallMs();
  const uint64_t serial = session->stored.serial;
  std::vector<v1::Task> cancelled;
  for (const uint64_t task_id : session->waiting) {
    ARROW_ASSIGN_OR_RAISE(v1::Task task, ReadRecord(*session, task_id));
    task.mutable_status()->set_state(v1::Cancelled);
    task.mutable_status()->set_completion_time(now);
    cancelled.push_back(std::move(task));
  }
  StoredSession closed = session->stored;
  closed.session.mutable_status()->set_state(v1::Closed);
  closed.session.mutable_status()->set_completion_time(now);
  ARROW_RETURN_NOT_OK(store_->PutSession(closed, cancelled));
  session->stored = std::move(closed);
  open_.erase(serial);
  for (const uint64_t task_id : std::exchange(session->waiting, {})) {
    SetState(session.get(), task_id, v1::Cancelled);
    CollectListeners(session.get(), task_id, notifications);
  }
  for (auto& [executor_id, executor] : executors_) {
    if (executor->session == session) TellToLeave(executor.get());
  }
  return Snapshot(*session);
}

Status SessionManager::DeleteLocked(const SessionPtr& session,
                                    Notifications* notifications) {
  ARROW_RETURN_NOT_OK(store_->DeleteSession(session->stored.serial));
  session->deleted = true;
  by_id_.erase(session->id());
  sessions_.erase(session->stored.serial);
  for (auto& [task, listeners] : session->listeners) {
    for (const auto& weak : listeners) {
      if (auto listener = weak.lock())
        notifications->Add(std::move(listener), session->id(), task,
                           session->tasks[task - 1]);
    }
  }
  session->listeners.clear();
  return Status::OK();
}

arrow::Result<v1::Session> SessionManager::DeleteSession(const std::string& id) {
  Notifications notifications;
  MutexLock lock(mutex_);
  ARROW_ASSIGN_OR_RAISE(const SessionPtr session, Find(id));
  if (session->open())
    return StateRefusal(fmt::format("Cannot delete session {}: it is open", id));
  v1::Session last = Snapshot(*session);
  ARROW_RETURN_NOT_OK(DeleteLocked(session, &notifications));
  return last;
}

arrow::Result<v1::Session> SessionManager::GetSession(const std::string& id) const {
  MutexLock lock(mutex_);
  ARROW_ASSIGN_OR_RAISE(const SessionPtr session, Find(id));
  return Snapshot(*session);
}

std::vector<v1::Session> SessionManager::ListSessions(const std::string* application,
                                                      const v1::SessionState* state,
                                                      int64_t bytes) const {
  MutexLock lock(mutex_);
  std::vector<v1::Session> list;
  for (const auto& [serial, session] : sessions_) {
    if (application != nullptr && session->spec().application() != *application) continue;
    if (state != nullptr && session->stored.session.status().state() != *state) continue;
    const auto size = static_cast<int64_t>(session->spec().common_data().size());
    list.push_back(Snapshot(*session, /*with_common_data=*/size <= bytes));
    if (size <= bytes) bytes -= size;
  }
  return list;
}

v1::Event SessionManager::NewEvent(int32_t code, std::string message) const {
  // Services and programs say what they like; the protocol carries UTF-8 only.
  if (message.size() > kMaxEventText) {
    message.resize(kMaxEventText);
    message += "...";
  }
  v1::Event event;
  event.set_code(code);
  event.set_message(MadeUtf8(std::move(message)));
  event.set_creation_time(clock_->WallMs());
  return event;
}

void SessionManager::AddEvents(Session* session, const std::vector<v1::Event>& events) {
  for (const v1::Event& event : events)
    *session->stored.session.mutable_status()->add_events() = event;
  if (session->deleted) return;
  // Nobody was promised it: what cannot be stored is still told while we run.
  const Status stored = store_->PutSession(session->stored);
  if (!stored.ok())
    FLAME_LOG_WARN(session, "session {}: store an event: {}", session->id(),
                   stored.ToString());
}

}  // namespace flame
