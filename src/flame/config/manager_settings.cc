#include "flame/config/manager_settings.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/size.h"
#include "flame/config/duration.h"
#include "flame/config/manager_config.h"

namespace flame {
namespace {

using arrow::Status;
using Text = std::string_view;
using Config = ManagerConfig;

Status ReadCount(Text text, int64_t* count) {
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    return InvalidError(fmt::format("'{}' is not a whole number", text));
  *count = value;
  return Status::OK();
}

/// As the existing server has it, a number alone is milliseconds.
Status ReadInterval(Text text, std::chrono::milliseconds* interval) {
  int64_t ms = 0;
  if (ReadCount(text, &ms).ok()) {
    *interval = std::chrono::milliseconds(ms);
    return Status::OK();
  }
  return ParseDuration(text).Value(interval);
}

Status ReadSwitch(Text text, bool* value) {
  if (text != "true" && text != "false")
    return InvalidError(fmt::format("'{}' is neither true nor false", text));
  *value = text == "true";
  return Status::OK();
}

Status ReadFolder(Text text, const Host& host, std::string* folder) {
  if (text.empty()) return InvalidError("it is empty");
  ARROW_ASSIGN_OR_RAISE(
      const StorageUrl url,
      ParseStorageUrl(fmt::format("file://{}", text), host.WorkingDirectory(), ""));
  *folder = url.path;
  return Status::OK();
}

constexpr ManagerSetting kSettings[] = {
    {"cluster.endpoint", "--endpoint", "FLAME_SESSION_ENDPOINT", "URL",
     "http://127.0.0.1:8080",
     "Where clients and services find the manager; https:// needs a certificate. Port 0 "
     "is any free one.",
     [](Text text, const Host&, Config* config) {
       return ParseEndpoint(text, 8080).Value(&config->endpoint);
     }},
    {"cluster.bind", "--bind", "FLAME_SESSION_BIND", "ADDRESS", "the endpoint's host",
     "Listen on this address, for example 0.0.0.0. Whoever reaches it can run programs "
     "here.",
     [](Text text, const Host&, Config* config) {
       ARROW_ASSIGN_OR_RAISE(const HostPort bind, ParseHostPort(text));
       if (bind.port >= 0) return InvalidError("the port is that of the endpoint");
       config->bind = bind.host;
       return Status::OK();
     }},
    {"cluster.storage", "--storage", "FLAME_SESSION_STORAGE", "URL", "none",
     "Where sessions and tasks outlive the manager: none, fs:///PATH or a path.",
     [](Text text, const Host& host, Config* config) {
       return ParseStorageUrl(text, host.Env("HOME").value_or("/"),
                              host.WorkingDirectory())
           .Value(&config->storage);
     }},
    {"cluster.resreq", "--resreq", "FLAME_SESSION_RESREQ", "DEMAND", "cpu=1,mem=1g,gpu=0",
     "What an instance takes when its session does not say.",
     [](Text text, const Host&, Config* config) {
       return ParseDemand(text).Value(&config->instance);
     }},
    {"cluster.overcommit", "--overcommit", "FLAME_SESSION_OVERCOMMIT", "FACTOR", "8",
     "How many times over the CPUs and the memory may be given away, for tasks that wait "
     "for other tasks; 1 = never.",
     [](Text text, const Host&, Config* config) {
       double value = 0;
       const auto [end, error] =
           std::from_chars(text.data(), text.data() + text.size(), value);
       if (error != std::errc() || end != text.data() + text.size() ||
           !(value >= 1 && value <= 1e6))
         return InvalidError(fmt::format("'{}' is not a factor of at least 1", text));
       config->overcommit = value;
       return Status::OK();
     }},
    {"cluster.schedule_interval", "--schedule-interval",
     "FLAME_SESSION_SCHEDULE_INTERVAL", "DURATION", "100ms",
     "The pause before an instance that failed to start is tried again.",
     [](Text text, const Host&, Config* config) {
       return ReadInterval(text, &config->schedule_interval);
     }},
    {"cluster.recovery.session.retry_limits", "--retry-limit",
     "FLAME_SESSION_RETRY_LIMIT", "COUNT", "5",
     "How many instances of one session may fail to start before it gets no more.",
     [](Text text, const Host&, Config* config) {
       return ReadCount(text, &config->retry_limit);
     }},
    {"cluster.limits.max_sessions", "--max-sessions", "FLAME_SESSION_MAX_SESSIONS",
     "COUNT", "no limit",
     "Sessions that are remembered; the longest closed ones make room.",
     [](Text text, const Host&, Config* config) {
       return ReadCount(text, &config->max_sessions);
     }},
    {"cluster.limits.max_executors", "--max-executors", "FLAME_SESSION_MAX_EXECUTORS",
     "COUNT", "no limit", "Instances that run at once.",
     [](Text text, const Host&, Config* config) {
       return ReadCount(text, &config->max_executors);
     }},
    {"cluster.limits.max_message", "--max-message", "FLAME_SESSION_MAX_MESSAGE", "SIZE",
     "64M", "Payload of the largest request.",
     [](Text text, const Host&, Config* config) {
       ARROW_ASSIGN_OR_RAISE(const uint64_t size, ParseSize(text));
       if (size < (4 << 20) || size > (1 << 30))
         return InvalidError("it must be from 4M to 1G");
       config->max_message = static_cast<int64_t>(size);
       return Status::OK();
     }},
    {"cluster.strict_upstream", "--strict-upstream", "FLAME_SESSION_STRICT_UPSTREAM", "",
     "false",
     "Answer as the existing server does, where it answers worse: for testing clients.",
     [](Text text, const Host&, Config* config) {
       return ReadSwitch(text, &config->strict_upstream);
     }},
    {"cluster.embed_cache", "--embed-cache", "FLAME_SESSION_EMBED_CACHE", "", "false",
     "Host the object cache in this process, as the section cache of the file says.",
     [](Text text, const Host&, Config* config) {
       return ReadSwitch(text, &config->embed_cache);
     }},
    {"cluster.executors.work_dir", "--work-dir", "FLAME_WORK_DIR", "PATH",
     "below /tmp, by user and port",
     "Where instances without a working directory run. The manager's own: what is left "
     "of instances there is removed at a start.",
     [](Text text, const Host& host, Config* config) {
       return ReadFolder(text, host, &config->work_dir);
     }},
    {"cluster.executors.socket_dir", "--socket-dir", "FLAME_SOCKET_DIR", "PATH",
     "the work_dir", "Where instances listen; a short path.",
     [](Text text, const Host& host, Config* config) {
       return ReadFolder(text, host, &config->socket_dir);
     }},
    {"cluster.executors.home", "--home", "FLAME_HOME", "PATH",
     "the folder above the program's own",
     "What ${FLAME_HOME} means in the command lines of applications. Where uv or a "
     "service of the start-up applications is missing in its bin, ours is used.",
     [](Text text, const Host& host, Config* config) {
       return ReadFolder(text, host, &config->home);
     }},
    {"cluster.executors.pass_environment", "--pass-environment",
     "FLAME_SESSION_PASS_ENVIRONMENT", "NAMES", "",
     "Variables of the manager that services get too, separated by commas.",
     [](Text text, const Host&, Config* config) {
       config->pass_environment.clear();
       while (!text.empty()) {
         const size_t end = std::min(text.find(','), text.size());
         if (end > 0) config->pass_environment.emplace_back(text.substr(0, end));
         text.remove_prefix(std::min(end + 1, text.size()));
       }
       return Status::OK();
     }},
    {"cluster.executors.start_timeout", "--start-timeout", "FLAME_SESSION_START_TIMEOUT",
     "DURATION", "2m", "From the start of a service until it listens.",
     [](Text text, const Host&, Config* config) {
       return ParseDuration(text).Value(&config->start_timeout);
     }},
    {"cluster.executors.enter_timeout", "--enter-timeout", "FLAME_SESSION_ENTER_TIMEOUT",
     "DURATION", "10m", "For a service to enter its session.",
     [](Text text, const Host&, Config* config) {
       return ParseDuration(text).Value(&config->enter_timeout);
     }},
    {"cluster.executors.python", "--python", "FLAME_PYTHON", "PROGRAM", "python3",
     "The Python of services in Python, and that installs their packages: a path, or a "
     "name in the PATH. It needs flamepy. Where it is of another version than an "
     "application asks for, others are looked at.",
     [](Text text, const Host&, Config* config) {
       if (text.empty()) return InvalidError("it is empty");
       config->python = text;
       return Status::OK();
     }},
    {"cluster.executors.install_timeout", "--install-timeout",
     "FLAME_SESSION_INSTALL_TIMEOUT", "DURATION", "15m",
     "For fetching and installing a package.",
     [](Text text, const Host&, Config* config) {
       return ParseDuration(text).Value(&config->install_timeout);
     }},
    {"cluster.executors.spares", "--spares", "FLAME_SESSION_SPARES", "COUNT", "2",
     "Workers of the Runner that are started in advance, for each kind that is in use "
     "and "
     "for the one registered last; 0 = none. Each takes some 100 MB.",
     [](Text text, const Host&, Config* config) {
       return ReadCount(text, &config->spares);
     }},
    {"cluster.executors.keep_logs", "--keep-logs", "FLAME_SESSION_KEEP_LOGS", "COUNT",
     "4", "Ended instances of each session whose output is kept; 0 = none.",
     [](Text text, const Host&, Config* config) {
       return ReadCount(text, &config->keep_logs);
     }},
    {"cluster.executors.keep_log_bytes", "--keep-log-bytes",
     "FLAME_SESSION_KEEP_LOG_BYTES", "SIZE", "64M",
     "Of all output that is kept; the longest kept makes room. Of one file, at most the "
     "last 1M is kept.",
     [](Text text, const Host&, Config* config) {
       ARROW_ASSIGN_OR_RAISE(const uint64_t size, ParseSize(text));
       if (size > (uint64_t{1} << 40)) return InvalidError("it must be at most 1T");
       config->keep_log_bytes = static_cast<int64_t>(size);
       return Status::OK();
     }},
    {"cluster.tls.cert_file", "--tls-cert-file", "FLAME_SESSION_TLS_CERT_FILE", "PATH",
     "", "The certificate chain, PEM; goes with an https:// endpoint.",
     [](Text text, const Host& host, Config* config) {
       return ReadFolder(text, host, &config->cert_file);
     }},
    {"cluster.tls.key_file", "--tls-key-file", "FLAME_SESSION_TLS_KEY_FILE", "PATH", "",
     "Its private key, PEM.",
     [](Text text, const Host& host, Config* config) {
       return ReadFolder(text, host, &config->key_file);
     }},
    {"cluster.tls.ca_file", "--tls-ca-file", "FLAME_SESSION_TLS_CA_FILE", "PATH", "",
     "The certificate that services trust (FLAME_CA_FILE).",
     [](Text text, const Host& host, Config* config) {
       return ReadFolder(text, host, &config->ca_file);
     }},
    {"cluster.drain_timeout", "--drain-timeout", "FLAME_SESSION_DRAIN_TIMEOUT",
     "DURATION", "10s", "How long a stop waits for the tasks that run.",
     [](Text text, const Host&, Config* config) {
       return ParseDuration(text).Value(&config->drain_timeout);
     }},
    {"cluster.log", "--log", "FLAME_LOG", "FILTER", "info",
     "Levels of the log: debug, or info,flame.session=debug.",
     [](Text text, const Host&, Config* config) {
       config->log_filter = text;
       return ParseLogFilter(text, &config->log);
     }},
    {"cache.endpoint", "--cache-endpoint", "FLAME_CACHE_ENDPOINT", "URL", "",
     "The object cache that services are told of.",
     [](Text text, const Host&, Config* config) {
       ARROW_RETURN_NOT_OK(ParseEndpoint(text).status());
       config->cache_endpoint = text;
       return Status::OK();
     }},
    {"cache.session_ttl", "--session-ttl", "FLAME_SESSION_TTL", "DURATION",
     "kept for ever", "Results of a closed session are removed from the cache after it.",
     [](Text text, const Host&, Config* config) {
       ARROW_ASSIGN_OR_RAISE(config->session_ttl, ParseDuration(text));
       return Status::OK();
     }},
};

}  // namespace

std::span<const ManagerSetting> ManagerSettings() { return kSettings; }

arrow::Result<ManagerConfig::Demand> ParseDemand(std::string_view text) {
  ManagerConfig::Demand demand;
  std::set<Text> seen;
  for (Text rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find(','), rest.size());
    const Text part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t equals = part.find('=');
    const Text name = part.substr(0, equals);
    if (equals == Text::npos || !seen.insert(name).second)
      return InvalidError(fmt::format("'{}' is not like cpu=1,mem=1g,gpu=0", text));
    ARROW_ASSIGN_OR_RAISE(const uint64_t value, ParseSize(part.substr(equals + 1)));
    if (name == "cpu")
      demand.cpu = value;
    else if (name == "mem" || name == "memory")
      demand.memory = value;
    else if (name == "gpu")
      demand.gpu = value;
    else
      return InvalidError(
          fmt::format("'{}' is not known; a demand has cpu, mem and gpu", name));
  }
  return demand;
}

}  // namespace flame
