#include "flame/config/manager_config.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>
#include <CLI/CLI.hpp>

#include "flame/base/error.h"
#include "flame/config/manager_settings.h"
#include "flame/config/nearest_name.h"
#include "flame/config/print_config.h"

namespace flame {
namespace {

using arrow::Status;
using Text = std::string_view;
using Config = ManagerConfig;

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
      has_cache_ = root.IsMap() && root["cache"];
      if (has_cache_) ReadCache(root["cache"]);
    } catch (const YAML::Exception& error) {
      return InvalidError(
          fmt::format("{}:{}: {}", file_, error.mark.line + 1, error.msg));
    }
    return std::move(values_);
  }

  bool has_cache() const { return has_cache_; }

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
    for (const char* key : {"endpoint", "session_ttl"}) {
      if (!cache.IsMap() || !cache[key] || !cache[key].IsScalar()) continue;
      const YAML::Node value = cache[key];
      values_[fmt::format("cache.{}", key)] = {value.Scalar(), value.Mark().line + 1};
    }
  }

  Status ReadValue(const YAML::Node& key, const YAML::Node& value,
                   const std::string& path) {
    if (std::find(std::begin(kUnread), std::end(kUnread), path) != std::end(kUnread))
      return Status::OK();
    std::vector<Text> known(std::begin(kUnread), std::end(kUnread));
    for (const ManagerSetting& setting : ManagerSettings()) {
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
  bool has_cache_ = false;
};

struct Line {
  std::map<Text, std::string> values;  // By path.
  std::optional<std::string> file;
  bool help = false;
  bool version = false;
  bool print_config = false;
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
  app.add_flag("--print-config", line.print_config);
  const auto* config = app.add_option("-c,--config", file)->take_last();
  std::vector<Text> flags{"--config", "--help", "--version", "--print-config"};
  for (const ManagerSetting& setting : ManagerSettings()) {
    // A switch may be given alone.
    auto* option = app.add_option(std::string(setting.flag), values[setting.path]);
    option->take_last();
    if (setting.is_switch()) option->expected(0, 1)->default_str("true");
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
  for (const ManagerSetting& setting : ManagerSettings()) {
    if (app.count(std::string(setting.flag)) > 0)
      line.values[setting.path] = setting.is_switch() && values[setting.path].empty()
                                      ? "true"
                                      : values[setting.path];
  }
  return line;
}

arrow::Result<Values> ReadFile(const Line& line, const Host& host, Config* config) {
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
  Reader reader(path);
  ARROW_ASSIGN_OR_RAISE(Values values, reader.Read(*text));
  if (reader.has_cache()) config->cache_file = path;
  return values;
}

arrow::Result<Config> Load(const Line& line, const Host& host) {
  Config config;
  ARROW_ASSIGN_OR_RAISE(const Values in_file, ReadFile(line, host, &config));
  const auto set = [&](const ManagerSetting& setting, Text text,
                       const std::string& where) {
    const Status parsed = setting.parse(text, host, &config);
    if (!parsed.ok()) return InvalidError(fmt::format("{}: {}", where, parsed.message()));
    config.given[setting.path] = {std::string(text), where};
    return parsed;
  };
  for (const ManagerSetting& setting : ManagerSettings()) {
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
        config.given.erase(setting.path);
        config.warnings.push_back(fmt::format("RUST_LOG: '{}' is ignored", *shared));
      }
    }
    if (const auto found = line.values.find(setting.path); found != line.values.end())
      ARROW_RETURN_NOT_OK(set(setting, found->second, std::string(setting.flag)));
  }
  if (config.session_ttl && config.cache_endpoint.empty() && !config.embed_cache)
    return InvalidError(
        "cache.session_ttl: there is no cache to remove results from; set cache.endpoint "
        "or cluster.embed_cache");
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

constexpr size_t kCommentColumn = 56;

/// As the sample file has it: a line for each setting, with where its value comes from.
/// The table has the keys of a section one after the other.
std::string PrintManagerConfig(const Config& config) {
  std::string text;
  for (const std::string& warning : config.warnings)
    text += fmt::format("# warning: {}\n", EscapedText(warning));
  std::vector<Text> open;  // The sections that the last line was in.
  for (const ManagerSetting& setting : ManagerSettings()) {
    std::vector<Text> sections;
    for (Text rest = setting.path; rest.find('.') != Text::npos;
         rest.remove_prefix(rest.find('.') + 1))
      sections.push_back(rest.substr(0, rest.find('.')));
    size_t same = 0;
    while (same < std::min(open.size(), sections.size()) && open[same] == sections[same])
      ++same;
    for (size_t i = same; i < sections.size(); ++i)
      text += fmt::format("{:{}}{}:\n", "", 2 * i, sections[i]);
    open = sections;
    const auto given = config.given.find(setting.path);
    const bool is_given = given != config.given.end();
    const std::string value =
        is_given ? given->second.text : std::string(setting.usual_text());
    const Text unset = setting.usual.empty() ? Text("not set") : setting.usual;
    std::string line = fmt::format("{:{}}", "", 2 * sections.size());
    line += !is_given && value.empty()
                ? fmt::format("# {}: {}", setting.key(), unset)
                : fmt::format("{}: {}", setting.key(), YamlScalar(value));
    line.resize(std::max(line.size() + 2, kCommentColumn), ' ');
    text += fmt::format("{}# {}\n", line,
                        is_given ? EscapedText(given->second.where) : "default");
  }
  return text;
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
      "  --print-config\n"
      "      Print what is in force, and where each value comes from, as a file.\n"
      "  -h, --help\n"
      "  -V, --version\n\n",
      version);
  for (const ManagerSetting& setting : ManagerSettings()) {
    text += fmt::format(
        "  {:<38} {}\n      {}{}\n",
        setting.is_switch() ? std::string(setting.flag)
                            : fmt::format("{} {}", setting.flag, setting.value),
        setting.env, setting.help,
        setting.usual.empty() ? "" : fmt::format(" [default: {}]", setting.usual));
  }
  return text;
}

}  // namespace

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
  if (line->print_config) return Exit{0, PrintManagerConfig(*config)};
  return *std::move(config);
}

}  // namespace flame
