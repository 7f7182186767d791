// flame-session-manager: the server of sessions and tasks. Reads the configuration,
// builds the objects bottom up, serves until a signal, tears down in the opposite order.
// Exit codes: 0 stopped or printed what was asked for, 1 could not start or stop cleanly,
// 2 bad command line.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>

#include <fmt/format.h>

#include "flame/base/log.h"
#include "flame/config/duration.h"
#include "flame/config/load.h"
#include "flame/config/manager_config.h"
#include "flame/server/cache_server.h"
#include "flame/server/remote_results.h"
#include "flame/session/executor.h"
#include "flame/session/frontend.h"
#include "flame/session/logs_service.h"
#include "flame/session/python_guard.h"
#include "flame/session/session_expiry.h"
#include "flame/session/session_manager.h"
#include "flame/session/task_door.h"
#include "flame/session/work_folder.h"
#include "options.h"

namespace flame {
namespace {

constexpr char kVersion[] = FLAME_VERSION;
/// For the answers that are on their way when everything has ended.
constexpr std::chrono::milliseconds kLastAnswers{500};

/// Removes a folder of the manager's own when it stops.
class Cleanup {
 public:
  explicit Cleanup(std::string folder) : folder_(std::move(folder)) {}
  ~Cleanup() {
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }

 private:
  const std::string folder_;
};

/// Null where there can be none; gRPC does it all then.
std::unique_ptr<TaskDoor> OpenTaskDoor(const std::string& folder, int max_message,
                                       SessionManager* manager) {
  // As gRPC: a payload and a few names.
  const size_t max_frame = static_cast<size_t>(max_message) + (1 << 20);
  auto door =
      TaskDoor::Open({.path = folder + "/.tasks", .max_frame = max_frame}, manager);
  if (door.ok()) return *std::move(door);
  FLAME_LOG_WARN(server, "no socket for clients of this machine: {}",
                 door.status().message());
  return nullptr;
}

arrow::Status Serve(const ManagerConfig& config, const sigset_t& signals) {
  ARROW_RETURN_NOT_OK(SetUpLogging(config.log));
  QuietLibraries();
  for (const std::string& warning : config.warnings)
    FLAME_LOG_WARN(server, "{}", warning);
  ARROW_ASSIGN_OR_RAISE(FrontendOptions door, FrontendOptionsOf(config));
  // First, so that it goes last: services end with results in their hands.
  std::unique_ptr<CacheServer> cache;
  if (config.embed_cache) {
    ARROW_ASSIGN_OR_RAISE(
        const auto cache_config,
        LoadHostedConfig(config.cache_file, config.cache_endpoint, *Host::System()));
    for (const std::string& warning : cache_config.warnings)
      FLAME_LOG_WARN(server, "cache: {}", warning);
    ARROW_ASSIGN_OR_RAISE(cache, CacheServer::Start(cache_config, kVersion));
  }
  const std::string cache_url = cache ? cache->url() : config.cache_endpoint;
  const ExecutorOptions executors = ExecutorOptionsOf(config, cache_url);
  ARROW_ASSIGN_OR_RAISE(const auto work_dir,
                        WorkFolder::Claim(executors.launch.work_dir));
  std::unique_ptr<WorkFolder> socket_dir;
  if (executors.launch.socket_dir != executors.launch.work_dir) {
    ARROW_ASSIGN_OR_RAISE(socket_dir, WorkFolder::Claim(executors.launch.socket_dir));
  }
  // Before tasks that were running are given to others.
  RemoveLeftovers(executors.launch);
  ARROW_ASSIGN_OR_RAISE(auto store, OpenSessionStore(config));
  ARROW_ASSIGN_OR_RAISE(const auto manager,
                        SessionManager::Open(std::move(store), Clock::System(),
                                             SessionManagerOptionsOf(config)));
  const Cleanup cleanup(executors.launch.python_dir);
  if (!executors.launch.python_dir.empty())
    ARROW_RETURN_NOT_OK(WritePythonGuard(executors.launch.python_dir));
  InstanceLogs logs(InstanceLogOptionsOf(config));
  ExecutorPool pool(executors, manager.get(), &logs);
  RemoteResults results(cache_url, config.ca_file);
  std::optional<SessionExpiry> expiry;
  if (config.session_ttl) {
    expiry.emplace(
        *config.session_ttl, Clock::System(),
        [&results](const std::string& application, const std::string& session) {
          return results.Remove(application, session);
        },
        [&manager](const std::string& session) { return manager->IsOpen(session); });
    const v1::SessionState closed = v1::Closed;
    for (const v1::Session& session : manager->ListSessions(nullptr, &closed, 0))
      expiry->Add(session);
  }
  manager->OnSessionClosed([&](const std::string& id) {
    pool.SessionClosed(id);
    const auto session = manager->GetSession(id);
    if (expiry && session.ok()) expiry->Add(*session);
  });
  LogsService logs_service(manager.get(), &logs);
  std::unique_ptr<TaskDoor> tasks;
  if (!config.strict_upstream) {
    door.more = &logs_service;
    tasks = OpenTaskDoor(executors.launch.socket_dir, door.max_message, manager.get());
    door.tasks = tasks.get();
  }
  ARROW_ASSIGN_OR_RAISE(const auto frontend, Frontend::Open(door, manager.get()));
  pool.SetEndpoint(UrlOf(config, frontend->port()));
  manager->OnRegistered(
      [&pool](const v1::Application& application) { pool.Guess(application); });
  manager->Start([&pool](Assignment assignment) { pool.Launch(std::move(assignment)); });
  Endpoint endpoint = config.endpoint;
  endpoint.port = frontend->port();
  fmt::print(
      "flame-session-manager {} ready on {} (listening on {}, storage {}{})\n", kVersion,
      FormatEndpoint(endpoint), ListeningOn(config, frontend->port()),
      FormatStorageUrl(config.storage),
      cache ? fmt::format("; cache on {}, {}", cache->url(), cache->description()) : "");
  std::fflush(stdout);

  int signal = 0;
  sigwait(&signals, &signal);
  FLAME_LOG_INFO(server, "{}: stopping; waiting up to {} for the tasks that run",
                 strsignal(signal), FormatDuration(config.drain_timeout));
  if (!manager->Drain(Clock::System()->BootMs() + config.drain_timeout.count())) {
    FLAME_LOG_WARN(server, "tasks still run: they are pending again after a restart");
    manager->Abandon();
    pool.EndAll();
    manager->Drain(Clock::System()->BootMs() + config.drain_timeout.count());
  }
  frontend->Shutdown(kLastAnswers);
  manager->Stop();
  expiry.reset();
  if (cache) {
    cache->Stop();
    ARROW_RETURN_NOT_OK(cache->Wait());
  }
  FLAME_LOG_INFO(server, "stopped");
  return arrow::Status::OK();
}

int Main(int argc, char** argv) {
  // Signals are taken by one thread; every thread started from here on leaves them to it.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const ManagerStartup startup =
      LoadManagerConfig({argv + 1, argv + argc}, kVersion, *Host::System());
  if (const auto* exit = std::get_if<Exit>(&startup)) {
    std::fputs(exit->text.c_str(), exit->code == 0 ? stdout : stderr);
    return exit->code;
  }
  const arrow::Status status = Serve(std::get<ManagerConfig>(startup), signals);
  if (status.ok()) return 0;
  fmt::print(stderr, "Error: {}\n", status.message());
  return 1;
}

}  // namespace
}  // namespace flame

int main(int argc, char** argv) { return flame::Main(argc, argv); }
