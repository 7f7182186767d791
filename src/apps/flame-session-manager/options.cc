#include "options.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <thread>

#include <fmt/format.h>

#include "flame/base/clock.h"
#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/config/ip_address.h"
#include "flame/tls/credentials.h"

extern char** environ;

namespace flame {
namespace {

/// What the existing server takes, and what ours allows beside a payload.
constexpr int kUpstreamMessage = 4 << 20;
constexpr int kMessageNames = 1 << 20;
constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

std::string ListenHost(const ManagerConfig& config) {
  return config.bind.empty() ? config.endpoint.host : config.bind;
}

uint64_t CountGpus() {
  uint64_t count = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev", error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("nvidia") && name.size() > 6 &&
        name.find_first_not_of("0123456789", 6) == name.npos)
      ++count;
  }
  return count;
}

std::string HostName() {
  char name[256] = "localhost";
  gethostname(name, sizeof name - 1);
  return name;
}

std::string WorkDir(const ManagerConfig& config) {
  if (!config.work_dir.empty()) return config.work_dir;
  // A port of one's own is what a restart has in common with its predecessor. Not below
  // TMPDIR: sockets' paths are short.
  const std::string name = config.endpoint.port != 0
                               ? std::to_string(config.endpoint.port)
                               : fmt::format("pid{}", getpid());
  return fmt::format("/tmp/flame-{}/sm-{}", geteuid(), name);
}

EnvironmentMap Inherited(const ManagerConfig& config) {
  EnvironmentMap inherited;
  const auto& more = config.pass_environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    const std::string_view name = text.substr(0, text.find('='));
    if (name.size() == text.size()) continue;
    if (PassedOn(name) || std::find(more.begin(), more.end(), name) != more.end())
      inherited.emplace(name, text.substr(name.size() + 1));
  }
  return inherited;
}

}  // namespace

arrow::Result<std::unique_ptr<SessionStore>> OpenSessionStore(
    const ManagerConfig& config) {
  if (config.storage.kind == StorageUrl::Kind::kNone)
    return std::make_unique<SessionStore>(OpenMemoryKeyValue());
  // Beside what a cache with the same root keeps.
  ARROW_ASSIGN_OR_RAISE(auto store,
                        OpenDiskKeyValue(config.storage.path + "/.flame-sessions"));
  return std::make_unique<SessionStore>(std::move(store));
}

SessionManagerOptions SessionManagerOptionsOf(const ManagerConfig& config) {
  SessionManagerOptions options;
  options.node = HostName();
  options.default_instance = {config.instance.cpu, config.instance.memory,
                              config.instance.gpu};
  NodeLimits& limits = options.limits;
  limits.machine.cpu = std::max(1U, std::thread::hardware_concurrency());
  limits.machine.memory = static_cast<uint64_t>(Host::System()->MemoryBytes());
  limits.machine.gpu = CountGpus();
  limits.overcommitted.cpu =
      static_cast<uint64_t>(static_cast<double>(limits.machine.cpu) * config.overcommit);
  limits.overcommitted.memory = static_cast<uint64_t>(
      static_cast<double>(limits.machine.memory) * config.overcommit);
  limits.overcommitted.gpu = limits.machine.gpu;  // A device is there or not.
  limits.instances =
      config.max_executors > 0 ? static_cast<uint64_t>(config.max_executors) : kNoLimit;
  options.max_sessions = static_cast<uint64_t>(config.max_sessions);
  options.retry_limit = static_cast<uint64_t>(config.retry_limit);
  options.retry_pause = config.schedule_interval;
  return options;
}

InstanceLogOptions InstanceLogOptionsOf(const ManagerConfig& config) {
  return {.directory = WorkDir(config) + "/.logs",
          .keep = config.keep_logs,
          .keep_bytes = config.keep_log_bytes};
}

ExecutorOptions ExecutorOptionsOf(const ManagerConfig& config,
                                  const std::string& cache_url) {
  ExecutorOptions options;
  LaunchOptions& launch = options.launch;
  launch.work_dir = WorkDir(config);
  if (config.strict_upstream)
    options.max_reply = kUpstreamMessage;
  else
    launch.python_dir = launch.work_dir + "/.python";
  launch.package_dir = launch.work_dir + "/packages";
  launch.socket_dir = config.socket_dir.empty() ? launch.work_dir : config.socket_dir;
  std::error_code error;
  launch.own_programs =
      std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
  launch.home = config.home;
  if (launch.home.empty())
    launch.home = std::filesystem::path(launch.own_programs).parent_path().string();
  launch.log_level = config.log_filter;
  launch.cache_endpoint = cache_url;
  launch.ca_file = config.ca_file;
  launch.inherited = Inherited(config);
  if (config.python != ManagerConfig().python)
    launch.inherited["FLAME_PYTHON"] = config.python;
  options.spares.count = config.strict_upstream ? 0 : config.spares;
  options.spares.directory = launch.work_dir + "/.spares";
  PackageOptions& packages = options.packages;
  packages.directory = launch.package_dir;
  packages.python =
      config.python.find('/') == config.python.npos ? "python" : config.python;
  packages.launcher = launch.own_programs + "/flame-uv";
  packages.timeout = config.install_timeout;
  packages.environment = launch.inherited;
  packages.environment["FLAME_HOME"] = launch.home;
  packages.environment["FLAME_LOG"] = launch.log_level;
  if (!launch.ca_file.empty()) packages.environment["FLAME_CA_FILE"] = launch.ca_file;
  packages.environment.try_emplace("HOME", launch.work_dir);
  options.start_timeout = config.start_timeout;
  options.enter_timeout = config.enter_timeout;
  return options;
}

arrow::Result<FrontendOptions> FrontendOptionsOf(const ManagerConfig& config) {
  FrontendOptions options;
  options.address = FormatHostPort({ListenHost(config), config.endpoint.port});
  options.max_message = static_cast<int>(config.max_message);
  options.strict_upstream = config.strict_upstream;
  if (config.strict_upstream) options.max_message = kUpstreamMessage - kMessageNames;
  if (config.endpoint.tls()) {
    ARROW_ASSIGN_OR_RAISE(
        auto tls, LoadTlsCredentials({"cluster", config.cert_file, config.key_file, ""},
                                     config.endpoint.host, *Clock::System()));
    for (const std::string& warning : tls.warnings) FLAME_LOG_WARN(server, "{}", warning);
    options.certificates = std::move(tls.certificates);
    options.key = std::move(tls.key);
  }
  return options;
}

std::string UrlOf(const ManagerConfig& config, int port) {
  Endpoint endpoint = config.endpoint;
  endpoint.port = port;
  endpoint.scheme = endpoint.tls() ? "https" : "http";
  if (endpoint.host == "0.0.0.0") endpoint.host = "127.0.0.1";
  if (endpoint.host == "::") endpoint.host = "::1";
  return FormatEndpoint(endpoint);
}

std::string ListeningOn(const ManagerConfig& config, int port) {
  return FormatHostPort({ListenHost(config), port});
}

}  // namespace flame
