#include "flame/session/session_manager.h"

#include <sys/utsname.h>

#include <algorithm>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/session/application.h"
#include "flame/session/manager_internal.h"
#include "flame/session/names.h"
#include "flame/session/refusal.h"

namespace flame {

using arrow::Status;

arrow::Result<std::unique_ptr<SessionManager>> SessionManager::Open(
    std::unique_ptr<SessionStore> store, const Clock* clock,
    SessionManagerOptions options) {
  std::unique_ptr<SessionManager> manager(
      new SessionManager(std::move(store), clock, std::move(options)));
  ARROW_RETURN_NOT_OK(manager->Load());
  return manager;
}

SessionManager::~SessionManager() { Stop(); }

Status SessionManager::Load() {
  ARROW_ASSIGN_OR_RAISE(auto contents, store_->Load());
  MutexLock lock(mutex_);
  for (v1::Application& application : contents.applications) {
    const std::string name = application.metadata().name();
    applications_.emplace(name, std::move(application));
  }
  for (StoredSession& stored : contents.sessions) {
    auto session = std::make_shared<Session>();
    session->stored = std::move(stored);
    const uint64_t serial = session->stored.serial;
    by_id_.emplace(session->id(), session);
    if (session->open()) open_.emplace(serial, session);
    sessions_.emplace(serial, std::move(session));
    next_serial_ = std::max(next_serial_, serial + 1);
  }
  for (const StoredTask& task : contents.tasks) {
    Session* session = sessions_.at(task.serial).get();
    // Ids have no gaps; one that is missing all the same is lost, not waited for.
    while (session->tasks.size() + 1 < task.id) {
      session->tasks.push_back(v1::Cancelled);
      ++session->counts[v1::Cancelled];
    }
    session->tasks.push_back(task.state);
    ++session->counts[static_cast<size_t>(task.state)];
    if (task.state == v1::Pending) session->waiting.insert(task.id);
  }
  for (const NamedApplication& application : StartUpApplications()) {
    if (applications_.contains(application.name)) continue;
    ARROW_ASSIGN_OR_RAISE(auto added, NewApplication(application.name, application.spec));
    ARROW_RETURN_NOT_OK(store_->PutApplication(added));
    applications_.emplace(application.name, std::move(added));
  }
  return Status::OK();
}

void SessionManager::OnRegistered(std::function<void(const v1::Application&)> listener) {
  {
    MutexLock lock(mutex_);
    registered_ = listener;
  }
  std::vector<v1::Application> applications = ListApplications();
  std::stable_sort(applications.begin(), applications.end(),
                   [](const v1::Application& a, const v1::Application& b) {
                     return a.status().creation_time() < b.status().creation_time();
                   });
  for (const v1::Application& application : applications) listener(application);
}

void SessionManager::Start(Launch launch) {
  launch_ = std::move(launch);
  scheduler_ = std::thread([this] { ScheduleLoop(); });
}

bool SessionManager::Drain(int64_t deadline_ms) {
  MutexLock lock(mutex_);
  draining_ = true;
  for (auto& [id, executor] : executors_) TellToLeave(executor.get());
  while (!executors_.empty()) {
    const int64_t left = deadline_ms - clock_->BootMs();
    if (left <= 0) return false;
    executors_gone_.WaitUntil(
        lock, std::chrono::steady_clock::now() + std::chrono::milliseconds(left));
  }
  return true;
}

void SessionManager::Abandon() {
  MutexLock lock(mutex_);
  abandoned_ = true;
}

void SessionManager::Stop() {
  {
    MutexLock lock(mutex_);
    draining_ = stopped_ = true;
    schedule_wake_.NotifyAll();
  }
  if (scheduler_.joinable()) scheduler_.join();
}

Status SessionManager::CheckTaking() const {
  return draining_ ? StoppingRefusal() : Status::OK();
}

// Applications.

arrow::Result<v1::Application> SessionManager::NewApplication(
    const std::string& name, v1::ApplicationSpec spec) const {
  ARROW_RETURN_NOT_OK(CheckApplicationSpec(spec));
  FillApplicationDefaults(&spec);
  v1::Application application;
  application.mutable_metadata()->set_id(name);
  application.mutable_metadata()->set_name(name);
  *application.mutable_spec() = std::move(spec);
  application.mutable_status()->set_state(v1::Enabled);
  application.mutable_status()->set_creation_time(clock_->WallMs());
  return application;
}

bool SessionManager::HasOpenSession(const std::string& application) const {
  return std::any_of(open_.begin(), open_.end(), [&](const auto& entry) {
    return entry.second->spec().application() == application;
  });
}

Status SessionManager::RegisterApplication(const std::string& name,
                                           v1::ApplicationSpec spec) {
  ARROW_ASSIGN_OR_RAISE(auto application, NewApplication(name, std::move(spec)));
  // After the specification: a bad name is a result, a bad specification an error.
  if (const Status named = CheckApplicationName(name); !named.ok())
    return StateRefusal(named.message());
  std::function<void(const v1::Application&)> registered;
  {
    MutexLock lock(mutex_);
    ARROW_RETURN_NOT_OK(CheckTaking());
    if (applications_.contains(name))
      return StateRefusal(fmt::format("Application '{}' already exists", name));
    ARROW_RETURN_NOT_OK(store_->PutApplication(application));
    applications_.emplace(name, application);
    registered = registered_;
  }
  if (registered) registered(application);
  return Status::OK();
}

Status SessionManager::UpdateApplication(const std::string& name,
                                         v1::ApplicationSpec spec) {
  ARROW_ASSIGN_OR_RAISE(auto application, NewApplication(name, std::move(spec)));
  std::function<void(const v1::Application&)> registered;
  {
    MutexLock lock(mutex_);
    ARROW_RETURN_NOT_OK(CheckTaking());
    const auto found = applications_.find(name);
    if (found == applications_.end())
      return StateRefusal(fmt::format("Application '{}' not found", name));
    if (HasOpenSession(name))
      return StateRefusal(fmt::format("Application '{}' has open sessions", name));
    application.mutable_status()->set_creation_time(
        found->second.status().creation_time());
    ARROW_RETURN_NOT_OK(store_->PutApplication(application));
    found->second = application;
    registered = registered_;
  }
  if (registered) registered(application);
  return Status::OK();
}

Status SessionManager::UnregisterApplication(const std::string& name) {
  Notifications notifications;
  MutexLock lock(mutex_);
  const auto found = applications_.find(name);
  if (found == applications_.end())
    return StateRefusal(fmt::format("Application '{}' not found", name));
  if (HasOpenSession(name))
    return StateRefusal(fmt::format("Application '{}' has open sessions", name));
  std::vector<SessionPtr> closed;
  for (const auto& [serial, session] : sessions_) {
    if (session->spec().application() == name) closed.push_back(session);
  }
  for (const SessionPtr& session : closed)
    ARROW_RETURN_NOT_OK(DeleteLocked(session, &notifications));
  ARROW_RETURN_NOT_OK(store_->DeleteApplication(name));
  applications_.erase(found);
  return Status::OK();
}

arrow::Result<v1::Application> SessionManager::GetApplication(
    const std::string& name) const {
  MutexLock lock(mutex_);
  const auto found = applications_.find(name);
  if (found == applications_.end())
    return NotFoundRefusal(fmt::format("Application '{}' not found", name));
  return found->second;
}

std::vector<v1::Application> SessionManager::ListApplications() const {
  MutexLock lock(mutex_);
  std::vector<v1::Application> list;
  for (const auto& [name, application] : applications_) list.push_back(application);
  return list;
}

// What runs, and where.

std::vector<v1::Executor> SessionManager::ListExecutors() const {
  MutexLock lock(mutex_);
  std::vector<v1::Executor> list;
  for (const auto& [id, executor] : executors_) {
    v1::Executor& entry = list.emplace_back();
    entry.mutable_metadata()->set_id(id);
    entry.mutable_metadata()->set_name(id);
    auto* spec = entry.mutable_spec();
    spec->set_node(options_.node);
    spec->mutable_resreq()->set_cpu(executor->resources.cpu);
    spec->mutable_resreq()->set_memory(executor->resources.memory);
    spec->mutable_resreq()->set_gpu(static_cast<int32_t>(executor->resources.gpu));
    entry.mutable_status()->set_state(executor->state);
    entry.mutable_status()->set_session_id(executor->session->id());
  }
  return list;
}

v1::Node SessionManager::Node() const {
  v1::Node node;
  node.mutable_metadata()->set_id(options_.node);
  node.mutable_metadata()->set_name(options_.node);
  node.mutable_spec()->set_hostname(options_.node);
  auto* status = node.mutable_status();
  status->set_state(v1::Ready);
  const Resources& machine = options_.limits.machine;
  for (auto* resources : {status->mutable_capacity(), status->mutable_allocatable()}) {
    resources->set_cpu(machine.cpu);
    resources->set_memory(machine.memory);
    resources->set_gpu(static_cast<int32_t>(machine.gpu));
  }
  utsname system{};
  if (uname(&system) == 0) {
    status->mutable_info()->set_arch(system.machine);
    status->mutable_info()->set_os("linux");
  }
  auto* address = status->add_addresses();
  address->set_type("Hostname");
  address->set_address(options_.node);
  status->set_last_heartbeat_time(clock_->WallMs() / 1000);
  return node;
}

}  // namespace flame
