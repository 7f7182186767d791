#include "flame/session/launch.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <strings.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/session/packages.h"
#include "flame/session/task_pipe.h"

namespace flame {
namespace {

using arrow::Status;
namespace fs = std::filesystem;

constexpr std::string_view kSocketVariable = "FLAME_INSTANCE_ENDPOINT";
constexpr std::array<std::string_view, 28> kPassedOn{"PATH",
                                                     "HOME",
                                                     "USER",
                                                     "LOGNAME",
                                                     "SHELL",
                                                     "LANG",
                                                     "LANGUAGE",
                                                     "TZ",
                                                     "TERM",
                                                     "LD_LIBRARY_PATH",
                                                     "PYTHONPATH",
                                                     "PYTHONHASHSEED",
                                                     "VIRTUAL_ENV",
                                                     "FLAME_HOME",
                                                     "FLAME_PYTHON",
                                                     "FLAME_PYTHON_VERSION",
                                                     "SSL_CERT_FILE",
                                                     "SSL_CERT_DIR",
                                                     "CUDA_VISIBLE_DEVICES",
                                                     "CUDA_HOME",
                                                     "NVIDIA_VISIBLE_DEVICES",
                                                     "OMP_NUM_THREADS",
                                                     "OPENBLAS_NUM_THREADS",
                                                     "MKL_NUM_THREADS",
                                                     "UV_CACHE_DIR",
                                                     "PIP_CACHE_DIR",
                                                     "XDG_CACHE_HOME",
                                                     "JAVA_HOME"};

/// A UUID and perhaps an ending: nothing else is ever removed.
bool IsOurs(const std::string& name) {
  constexpr size_t kUuid = 36;
  if (name.size() < kUuid) return false;
  for (size_t i = 0; i < kUuid; ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? name[i] != '-' : !std::isxdigit(static_cast<unsigned char>(name[i])))
      return false;
  }
  const std::string_view rest = std::string_view(name).substr(kUuid);
  return rest.empty() || rest == ".sock" ||
         rest == std::string(".sock") + kTaskPipeEnding;
}

Status MakeFolder(const std::string& path) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (error) return ErrnoError(error.value(), "create", path);
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return ErrnoError(errno, "create", path);
  return Status::OK();
}

/// `command`, or the program of ours that does the same where FLAME_HOME has none.
std::string OrOwn(const LaunchOptions& options, const EnvironmentMap& environment,
                  const std::string& command) {
  constexpr std::pair<std::string_view, std::string_view> kOwn[]{
      {"uv", "flame-uv"},
      {"flmping-service", "flmping-service"},
      {"flmexec-service", "flmexec-service"}};
  const auto home = environment.find("FLAME_HOME");
  if (options.own_programs.empty() || home == environment.end()) return command;
  for (const auto& [name, own] : kOwn) {
    if (command != fmt::format("{}/bin/{}", home->second, name)) continue;
    if (access(command.c_str(), X_OK) == 0) break;
    return fmt::format("{}/{}", options.own_programs, own);
  }
  return command;
}

void RemoveAll(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) FLAME_LOG_WARN(session, "remove {}: {}", path, error.message());
}

void Prepend(EnvironmentMap* environment, const std::string& name,
             const std::string& value) {
  std::string& own = (*environment)[name];
  own = own.empty() ? value : value + ":" + own;
}

/// What is installed for all applications of this Python; empty = nothing.
std::string BasePackages(const std::string& home, const std::string& version) {
  const auto folder = [&home](const std::string& python) {
    return fmt::format("{}/lib/{}/site-packages", home, python);
  };
  std::error_code ignored;
  if (!version.empty()) {
    std::string base = folder("python" + version);
    return fs::is_directory(base, ignored) ? base : "";
  }
  std::string newest;
  int minor = -1;
  for (const auto& entry : fs::directory_iterator(home + "/lib", ignored)) {
    const std::string name = entry.path().filename().string();
    constexpr std::string_view kPython3 = "python3.";
    if (!name.starts_with(kPython3)) continue;
    const int found = std::atoi(name.c_str() + kPython3.size());
    if (found <= minor || !fs::is_directory(folder(name), ignored)) continue;
    minor = found;
    newest = folder(name);
  }
  return newest;
}

/// The three paths are put in front; the rest is only for who has not said otherwise.
void AddPackage(const LaunchOptions& options, const v1::ApplicationSpec& spec,
                const EnvironmentMap& package, EnvironmentMap* environment) {
  for (const auto& [name, value] : package) {
    if (name != "PATH" && name != "PYTHONPATH" && name != "LD_LIBRARY_PATH")
      environment->try_emplace(name, value);
  }
  if (spec.installer().size() == 6 &&
      strcasecmp(spec.installer().c_str(), "python") == 0) {
    const auto version = environment->find("FLAME_PYTHON_VERSION");
    std::string text = version == environment->end() ? "" : version->second;
    if (text.starts_with("python")) text.erase(0, 6);
    const std::string base = BasePackages(options.home, text);
    if (!base.empty()) Prepend(environment, "PYTHONPATH", base);
  }
  for (const char* name : {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH"}) {
    if (const auto found = package.find(name); found != package.end())
      Prepend(environment, name, found->second);
  }
  if (!options.python_dir.empty()) Prepend(environment, "PYTHONPATH", options.python_dir);
}

}  // namespace

bool PassedOn(std::string_view name) {
  return name.starts_with("LC_") ||
         std::find(kPassedOn.begin(), kPassedOn.end(), name) != kPassedOn.end();
}

arrow::Result<InstanceFiles> InstanceFiles::Create(const LaunchOptions& options,
                                                   const std::string& executor,
                                                   const v1::Application& application) {
  InstanceFiles files;
  files.socket = fmt::format("{}/{}.sock", options.socket_dir, executor);
  if (files.socket.size() >= sizeof(sockaddr_un::sun_path)) {
    return InvalidError(
        fmt::format("the path of the instance's socket, {}, is longer than a socket's "
                    "path can be; set FLAME_SOCKET_DIR to a shorter folder",
                    files.socket));
  }
  const std::string& name = application.metadata().name();
  files.own_directory = application.spec().working_directory().empty();
  if (files.own_directory) {
    files.directory = fmt::format("{}/{}", options.work_dir, executor);
    files.app_dir = fmt::format("{}/work/{}", files.directory, name);
  } else {
    // Two instances may share the directory, but nothing in it.
    files.directory = application.spec().working_directory();
    files.app_dir = fmt::format("{}/work/{}/{}", files.directory, name, executor);
  }
  files.out_file = fmt::format("{}/{}.out", files.directory, executor);
  files.err_file = fmt::format("{}/{}.err", files.directory, executor);
  Status made = MakeFolder(options.socket_dir);
  if (made.ok() && files.own_directory) made = MakeFolder(files.directory);
  if (made.ok()) made = MakeFolder(files.app_dir);
  if (made.ok()) made = MakeFolder(files.app_dir + "/tmp");
  if (!made.ok()) {
    files.Remove();
    return made;
  }
  return files;
}

void InstanceFiles::Remove() const {
  std::error_code ignored;
  fs::remove(socket, ignored);
  fs::remove(socket + kTaskPipeEnding, ignored);
  if (own_directory) {
    RemoveAll(directory);
    return;
  }
  RemoveAll(app_dir);
  // <directory>/work/<app> and <directory>/work, once nobody has anything there.
  const fs::path app = fs::path(app_dir).parent_path();
  fs::remove(app, ignored);
  fs::remove(app.parent_path(), ignored);
}

EnvironmentMap BuildEnvironment(const LaunchOptions& options,
                                const v1::ApplicationSpec& spec,
                                const InstanceFiles& files,
                                const EnvironmentMap& package) {
  EnvironmentMap inherited = options.inherited;
  inherited["FLAME_HOME"] = options.home;
  EnvironmentMap environment = inherited;
  for (const v1::Environment& variable : spec.environments()) {
    const Expanded expanded = ExpandVariables(variable.value(), inherited);
    environment[variable.name()] = expanded.complete ? expanded.text : variable.value();
  }
  environment["RUST_LOG"] = options.log_level;
  environment["FLAME_LOG"] = options.log_level;
  environment[std::string(kSocketVariable)] = files.socket;
  environment[kTaskPipeVariable] = "1";
  environment["FLAME_ENDPOINT"] = options.endpoint;
  if (!options.cache_endpoint.empty())
    environment["FLAME_CACHE_ENDPOINT"] = options.cache_endpoint;
  if (!options.ca_file.empty()) environment["FLAME_CA_FILE"] = options.ca_file;
  environment.try_emplace("HOME", files.directory);
  AddPackage(options, spec, package, &environment);
  for (const char* name : {"TMPDIR", "TEMP", "TMP"})
    environment.try_emplace(name, files.app_dir + "/tmp");
  return environment;
}

arrow::Result<ProcessSpec> BuildProcess(const LaunchOptions& options,
                                        const v1::ApplicationSpec& spec,
                                        const InstanceFiles& files,
                                        const EnvironmentMap& package) {
  if (spec.command().empty())
    return InvalidError("the application has no command; register it with one");
  ProcessSpec process;
  process.environment = BuildEnvironment(options, spec, files, package);
  const std::string command =
      OrOwn(options, process.environment,
            ExpandVariables(spec.command(), process.environment).text);
  // The package's programs, then the server's.
  EnvironmentMap search;
  if (const auto path = options.inherited.find("PATH"); path != options.inherited.end())
    search["PATH"] = path->second;
  if (const auto path = package.find("PATH"); path != package.end())
    Prepend(&search, "PATH", path->second);
  ARROW_ASSIGN_OR_RAISE(process.program, FindProgram(command, search["PATH"]));
  for (const std::string& argument : spec.arguments())
    process.arguments.push_back(ExpandVariables(argument, process.environment).text);
  process.directory = files.directory;
  process.output_file = files.out_file;
  process.error_file = files.err_file;
  return process;
}

void RemoveLeftovers(const LaunchOptions& options) {
  const int killed =
      KillByEnvironment(std::string(kSocketVariable), options.socket_dir + "/");
  if (killed > 0)
    FLAME_LOG_WARN(session, "ended {} processes that an earlier server left", killed);
  for (const std::string& folder : {options.socket_dir, options.work_dir}) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (IsOurs(entry.path().filename().string())) RemoveAll(entry.path().string());
    }
  }
  RemoveAll(options.work_dir + "/.spares");
  if (options.package_dir.empty()) return;
  KillByEnvironment(kInstallVariable, options.package_dir + "/");
  RemoveAll(options.package_dir);
}

}  // namespace flame
