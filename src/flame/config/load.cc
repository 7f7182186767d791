#include "flame/config/load.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/config/addresses.h"
#include "flame/config/cluster_file.h"
#include "flame/config/command_line.h"
#include "flame/config/print_config.h"
#include "flame/config/settings.h"

namespace flame {
namespace {

using Kind = ValueSource::Kind;

/// $XDG_DATA_HOME/flame/cache or ~/.local/share/flame/cache; without a home the system's
/// place.
std::string DefaultDataFolder(const Host& host) {
  if (const auto data = host.Env("XDG_DATA_HOME"); data && data->front() == '/')
    return *data + "/flame/cache";
  if (const auto home = host.Env("HOME")) return *home + "/.local/share/flame/cache";
  return "/var/lib/flame/cache";
}

std::string DefaultRuntimeDir(const Host& host) {
  if (const auto runtime = host.Env("XDG_RUNTIME_DIR");
      runtime && runtime->front() == '/')
    return *runtime + "/flame";
  if (host.CanWriteFolder("/run/flame")) return "/run/flame";
  return fmt::format("/tmp/flame-{}", host.UserId());
}

struct File {
  std::string path;
  std::string text;
};

/// The file that was asked for, which must be there, or the default one, which need not.
arrow::Result<std::optional<File>> FindFile(const CommandLine& line, const Host& host) {
  File file;
  if (line.no_file) return std::nullopt;
  if (line.config_file) {
    file.path = *line.config_file;
  } else if (const auto home = host.Env("HOME")) {
    file.path = *home + "/.flame/flame-cluster.yaml";
  } else {
    return std::nullopt;
  }
  ARROW_ASSIGN_OR_RAISE(auto text, host.ReadFile(file.path));
  if (text) {
    file.text = *std::move(text);
    return file;
  }
  if (line.config_file)
    return InvalidError(
        fmt::format("the configuration file '{}' is not there", file.path));
  return std::nullopt;
}

class Loader {
 public:
  explicit Loader(const Host& host) : host_(host) {}

  arrow::Result<ServerConfig> Load(const CommandLine& line) {
    ARROW_ASSIGN_OR_RAISE(const std::optional<File> file, FindFile(line, host_));
    SetDefaults(file.has_value());
    std::map<std::string, FileValue, std::less<>> in_file;
    if (file) {
      ARROW_ASSIGN_OR_RAISE(in_file,
                            ParseClusterFile(file->text, file->path, &config_.warnings));
    }
    for (const Setting& setting : Settings()) {
      config_.sources[std::string(setting.path)] = {};
      if (const auto found = in_file.find(setting.path); found != in_file.end()) {
        ARROW_RETURN_NOT_OK(
            Set(setting, found->second.text,
                {Kind::kFile, fmt::format("{}:{}", file->path, found->second.line)}));
      }
      ARROW_RETURN_NOT_OK(SetFromEnvironment(setting));
      if (const auto found = line.values.find(setting.path); found != line.values.end()) {
        ARROW_RETURN_NOT_OK(
            Set(setting, found->second, {Kind::kFlag, std::string(setting.flag)}));
      }
    }
    ARROW_RETURN_NOT_OK(ResolveAddresses(host_, file.has_value(), &config_));
    ARROW_RETURN_NOT_OK(config_.Validate());
    if (config_.tls.given() && !config_.endpoint.tls()) {
      config_.warnings.push_back(
          "cache.tls has no effect: the endpoint is without TLS, so traffic is not "
          "encrypted");
    }
    return std::move(config_);
  }

 private:
  /// Those that depend on the machine; the others stand in ServerConfig.
  void SetDefaults(bool with_file) {
    config_.runtime_dir = DefaultRuntimeDir(host_);
    constexpr int64_t kMi = 1 << 20;  // Whole ones read better.
    config_.limits.in_flight = std::max(host_.MemoryBytes() / 4 / kMi, int64_t{1}) * kMi;
    if (with_file) return;
    config_.storage = {StorageUrl::Kind::kFs, DefaultDataFolder(host_)};
    config_.eviction.max_memory =
        std::max(host_.MemoryBytes() / 2 / kMi, int64_t{1}) * kMi;
  }

  /// A value that loses is checked all the same: a mistake does not hide until the winner
  /// is taken away.
  arrow::Status Set(const Setting& setting, std::string_view text, ValueSource source) {
    const arrow::Status parsed = setting.parse(text, host_, &config_);
    if (!parsed.ok()) {
      const std::string name = source.kind == Kind::kFile
                                   ? fmt::format("{}: {}", source.where, setting.path)
                                   : source.where;
      return InvalidError(fmt::format("{}: {}", name, parsed.message()));
    }
    config_.sources[std::string(setting.path)] = std::move(source);
    return arrow::Status::OK();
  }

  arrow::Status SetFromEnvironment(const Setting& setting) {
    const std::string name(setting.env);
    if (const auto text = host_.Env(name))
      return Set(setting, *text, {Kind::kEnvironment, name});
    const std::string shared(setting.shared_env);
    if (shared.empty()) return arrow::Status::OK();
    if (const auto text = host_.Env(shared)) {
      ServerConfig before = config_;
      if (const arrow::Status set = Set(setting, *text, {Kind::kEnvironment, shared});
          !set.ok()) {
        config_ = std::move(before);
        config_.warnings.push_back(fmt::format("{}; ignored", set.message()));
      }
    }
    return arrow::Status::OK();
  }

  const Host& host_;
  ServerConfig config_;
};

Exit Failed(int code, const arrow::Status& status) {
  return {code, fmt::format("Error: {}\n", status.message())};
}

}  // namespace

Startup LoadServerConfig(const std::vector<std::string>& arguments,
                         std::string_view version, const Host& host) {
  const auto line = ParseCommandLine(arguments);
  if (!line.ok()) {
    Exit exit = Failed(2, line.status());
    exit.text += "Try 'flame-object-cache --help'.\n";
    return exit;
  }
  if (line->help) return Exit{0, HelpText(version)};
  if (line->version) return Exit{0, fmt::format("flame-object-cache {}\n", version)};
  auto config = Loader(host).Load(*line);
  if (!config.ok()) return Failed(1, config.status());
  if (line->print_config) return Exit{0, PrintConfig(*config)};
  return *std::move(config);
}

arrow::Result<ServerConfig> LoadHostedConfig(const std::string& file,
                                             const std::string& endpoint,
                                             const Host& host) {
  CommandLine line;
  if (file.empty())
    line.no_file = true;
  else
    line.config_file = file;
  if (!endpoint.empty()) line.values["cache.endpoint"] = endpoint;
  return Loader(host).Load(line);
}

}  // namespace flame
