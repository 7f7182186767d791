#include "flame/config/manager_config.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <span>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>
#include <CLI/CLI.hpp>

#include "flame/base/error.h"
#include "flame/base/size.h"
#include "flame/config/duration.h"
#include "flame/config/nearest_name.h"

namespace flame {
namespace {

using arrow::Status;
using Text = std::string_view;
using Config = ManagerConfig;

/// One row is all there is to say about a setting.
struct Setting {
  Text path, flag, env, value, usual, help;
  Status (*parse)(Text text, const Host& host, Config* config);
};

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

Status ReadFolder(Text text, const Host& host, std::string* folder) {
  if (text.empty()) return InvalidError("it is empty");
  ARROW_ASSIGN_OR_RAISE(
      const StorageUrl url,
      ParseStorageUrl(fmt::format("file://{}", text), host.WorkingDirectory(), ""));
  *folder = url.path;
  return Status::OK();
}

constexpr Setting kSettings[] = {
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
    {"cluster.executors.work_dir", "--work-dir", "FLAME_WORK_DIR", "PATH",
     "/tmp/flame-UID/sm-PORT",
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
    {"cluster.executors.home", "--home", "FLAME_HOME", "PATH", "/opt/flame",
     "What ${FLAME_HOME} means in the command lines of applications.",
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
    {"cache.endpoint", "--cache-endpoint", "FLAME_CACHE_ENDPOINT", "URL", "",
     "The object cache that services are told of.",
     [](Text text, const Host&, Config* config) {
       ARROW_RETURN_NOT_OK(ParseEndpoint(text).status());
       config->cache_endpoint = text;
       return Status::OK();
     }},
    {"cluster.log", "--log", "FLAME_LOG", "FILTER", "info",
     "Levels of the log: debug, or info,flame.session=debug.",
     [](Text text, const Host&, Config* config) {
       config->log_filter = text;
       return ParseLogFilter(text, &config->log);
     }},
};

/// Keys of existing files that mean nothing to us, with all that is below them.
constexpr Text kUnread[] = {"cluster.name",  "cluster.policy",         "cluster.policies",
                            "cluster.pprof", "cluster.executors.shim", "cluster.slot"};

struct FileText {
  std::string text;
  int line = 0;
};
using Values = std::map<std::string, FileText, std::less<>>;

class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {}

  arrow::Result<Values> Read(const std::string& text) {
    try {
      const YAML::Node root = YAML::Load(text);
      if (!root.IsMap() && !root.IsNull())
        return Error(root, "the file must hold keys and values");
      if (root.IsMap() && root["cluster"])
        ARROW_RETURN_NOT_OK(ReadSection(root["cluster"], "cluster"));
      if (root.IsMap() && root["cache"]) ReadCache(root["cache"]);
    } catch (const YAML::Exception& error) {
      return InvalidError(
          fmt::format("{}:{}: {}", file_, error.mark.line + 1, error.msg));
    }
    return std::move(values_);
  }

 private:
  Status ReadSection(const YAML::Node& section, const std::string& path) {
    if (section.IsNull()) return Status::OK();
    if (!section.IsMap())
      return Error(section,
                   fmt::format("'{}' is a section; put keys and values below it", path));
    std::set<std::string> seen;
    for (const auto& entry : section) {
      if (!entry.first.IsScalar())
        return Error(entry.first, fmt::format("a key in '{}' is not a word", path));
      const std::string key = fmt::format("{}.{}", path, entry.first.Scalar());
      if (!seen.insert(key).second)
        return Error(entry.first, fmt::format("'{}' is given twice", key));
      ARROW_RETURN_NOT_OK(ReadValue(entry.first, entry.second, key));
    }
    return Status::OK();
  }

  /// The rest of that section is the cache's to check.
  void ReadCache(const YAML::Node& cache) {
    if (!cache.IsMap() || !cache["endpoint"] || !cache["endpoint"].IsScalar()) return;
    const YAML::Node endpoint = cache["endpoint"];
    values_["cache.endpoint"] = {endpoint.Scalar(), endpoint.Mark().line + 1};
  }

  Status ReadValue(const YAML::Node& key, const YAML::Node& value,
                   const std::string& path) {
    if (std::find(std::begin(kUnread), std::end(kUnread), path) != std::end(kUnread))
      return Status::OK();
    std::vector<Text> known(std::begin(kUnread), std::end(kUnread));
    for (const Setting& setting : kSettings) {
      if (path == setting.path) {
        if (value.IsNull()) return Status::OK();
        if (!value.IsScalar())
          return Error(key, fmt::format("'{}' takes a single value", path));
        values_[path] = {value.Scalar(), key.Mark().line + 1};
        return Status::OK();
      }
      if (setting.path.starts_with(path + ".")) return ReadSection(value, path);
      known.push_back(setting.path);
    }
    return Error(key, fmt::format("unknown key '{}'; the nearest known one is '{}'", path,
                                  NearestName(path, known)));
  }

  Status Error(const YAML::Node& node, Text message) const {
    return InvalidError(fmt::format("{}:{}: {}", file_, node.Mark().line + 1, message));
  }

  const std::string& file_;
  Values values_;
};

struct Line {
  std::map<Text, std::string> values;  // By path.
  std::optional<std::string> file;
  bool help = false;
  bool version = false;
};

arrow::Result<Line> ParseLine(const std::vector<std::string>& arguments) {
  Line line;
  std::string file;
  std::map<Text, std::string> values;
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();  // Reported here, with the nearest flag.
  app.add_flag("-h,--help", line.help);
  app.add_flag("-V,--version", line.version);
  const auto* config = app.add_option("-c,--config", file)->take_last();
  std::vector<Text> flags{"--config", "--help", "--version"};
  for (const Setting& setting : kSettings) {
    app.add_option(std::string(setting.flag), values[setting.path])->take_last();
    flags.push_back(setting.flag);
  }
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return InvalidError(error.what());
  }
  if (const auto unknown = app.remaining(); !unknown.empty()) {
    const std::string flag = unknown.front().substr(0, unknown.front().find('='));
    if (!flag.starts_with("-"))
      return InvalidError(fmt::format("unexpected argument '{}'", flag));
    return InvalidError(fmt::format("unknown option '{}'; the nearest known one is '{}'",
                                    flag, NearestName(flag, flags)));
  }
  if (config->count() > 0) line.file = file;
  for (const Setting& setting : kSettings) {
    if (app.count(std::string(setting.flag)) > 0)
      line.values[setting.path] = values[setting.path];
  }
  return line;
}

arrow::Result<Values> ReadFile(const Line& line, const Host& host) {
  std::string path;
  if (line.file) {
    path = *line.file;
  } else if (const auto home = host.Env("HOME")) {
    path = *home + "/.flame/flame-cluster.yaml";
  } else {
    return Values();
  }
  ARROW_ASSIGN_OR_RAISE(const auto text, host.ReadFile(path));
  if (!text) {
    if (!line.file) return Values();
    return InvalidError(fmt::format("the configuration file '{}' is not there", path));
  }
  ARROW_ASSIGN_OR_RAISE(Values values, Reader(path).Read(*text));
  return values;
}

arrow::Result<Config> Load(const Line& line, const Host& host) {
  Config config;
  ARROW_ASSIGN_OR_RAISE(const Values in_file, ReadFile(line, host));
  const auto set = [&](const Setting& setting, Text text, const std::string& where) {
    const Status parsed = setting.parse(text, host, &config);
    return parsed.ok() ? parsed
                       : InvalidError(fmt::format("{}: {}", where, parsed.message()));
  };
  for (const Setting& setting : kSettings) {
    if (const auto found = in_file.find(setting.path); found != in_file.end())
      ARROW_RETURN_NOT_OK(
          set(setting, found->second.text,
              fmt::format("line {}: {}", found->second.line, setting.path)));
    if (const auto text = host.Env(std::string(setting.env)))
      ARROW_RETURN_NOT_OK(set(setting, *text, std::string(setting.env)));
    if (setting.env == "FLAME_LOG" && !host.Env("FLAME_LOG")) {
      // Other programs read it, too: what we cannot understand may be meant for them.
      const auto shared = host.Env("RUST_LOG");
      if (shared && !set(setting, *shared, "RUST_LOG").ok()) {
        config.log = {};
        config.log_filter = "info";
        config.warnings.push_back(fmt::format("RUST_LOG: '{}' is ignored", *shared));
      }
    }
    if (const auto found = line.values.find(setting.path); found != line.values.end())
      ARROW_RETURN_NOT_OK(set(setting, found->second, std::string(setting.flag)));
  }
  if (config.endpoint.is_unix())
    return InvalidError(
        "cluster.endpoint: a Unix socket is not supported; write "
        "http://HOST:PORT");
  if (config.endpoint.tls() && (config.cert_file.empty() || config.key_file.empty()))
    return InvalidError(
        "cluster.endpoint: https:// needs cluster.tls.cert_file and "
        "cluster.tls.key_file");
  if (!config.endpoint.tls() && !config.cert_file.empty())
    config.warnings.push_back(
        "cluster.tls has no effect: the endpoint is http://, so traffic is not "
        "encrypted");
  return config;
}

std::string HelpText(Text version) {
  std::string text = fmt::format(
      "flame-session-manager {}: sessions, tasks, and the services that work on them\n"
      "\n"
      "Usage: flame-session-manager [OPTIONS]\n"
      "\n"
      "Every setting is a flag, an environment variable (on the right) and a key of the\n"
      "configuration file; a flag beats the variable, that the file, that the default.\n"
      "Sizes: 65536, 64K, 1.5GiB (powers of 1024). Durations: 500ms, 10s, 24h.\n"
      "\n"
      "  -c, --config PATH\n"
      "      Configuration file. Default: ~/.flame/flame-cluster.yaml, if it is there.\n"
      "  -h, --help\n"
      "  -V, --version\n\n",
      version);
  for (const Setting& setting : kSettings) {
    text += fmt::format(
        "  {:<38} {}\n      {}{}\n", fmt::format("{} {}", setting.flag, setting.value),
        setting.env, setting.help,
        setting.usual.empty() ? "" : fmt::format(" [default: {}]", setting.usual));
  }
  return text;
}

}  // namespace

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

ManagerStartup LoadManagerConfig(const std::vector<std::string>& arguments,
                                 std::string_view version, const Host& host) {
  const auto line = ParseLine(arguments);
  if (!line.ok()) {
    return Exit{2, fmt::format("Error: {}\nTry 'flame-session-manager --help'.\n",
                               line.status().message())};
  }
  if (line->help) return Exit{0, HelpText(version)};
  if (line->version) return Exit{0, fmt::format("flame-session-manager {}\n", version)};
  auto config = Load(*line, host);
  if (!config.ok()) return Exit{1, fmt::format("Error: {}\n", config.status().message())};
  return *std::move(config);
}

}  // namespace flame
