#include "flame/session/packages.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/storage/uuid.h"

namespace flame {
namespace {

using arrow::Status;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
namespace fs = std::filesystem;

/// How often whoever waits asks whether to go on.
constexpr milliseconds kLook{100};
constexpr milliseconds kKillGrace{2000};
constexpr int64_t kTailBytes = 2048;
/// For a Python to tell its version.
constexpr milliseconds kForesight{30'000};

std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return text;
}

/// "3.11" for python3.11 and 3.11; empty = the application does not say.
std::string PythonVersion(const v1::ApplicationSpec& spec) {
  std::string version;
  for (const v1::Environment& variable : spec.environments()) {
    if (variable.name() == "FLAME_PYTHON_VERSION") version = variable.value();
  }
  if (version.starts_with("python")) version.erase(0, 6);
  return version;
}

/// Everything that makes another package of it. The time of the registration is there
/// because a URL may lead to other bytes when an application is registered anew.
std::string KeyOf(const v1::Application& application) {
  const v1::ApplicationSpec& spec = application.spec();
  return fmt::format("{}\n{}\n{}\n{}\n{}", application.metadata().name(),
                     application.status().creation_time(), LowerCase(spec.installer()),
                     PythonVersion(spec), spec.url());
}

EnvironmentMap ParseEnvironment(const std::string& file) {
  EnvironmentMap environment;
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (const size_t equals = line.find('='); equals != line.npos)
      environment[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return environment;
}

/// The writer appends, so it goes on after the end of what it said before.
void Cut(const std::string& path, int64_t limit) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 || info.st_size <= limit) return;
  const std::string tail = TailOf(path, kTailBytes);
  if (truncate(path.c_str(), 0) == 0) std::ofstream(path, std::ios::app) << tail << "\n";
}

}  // namespace

arrow::Result<bool> NeedsPackage(const v1::ApplicationSpec& spec) {
  if (!spec.has_installer()) return false;
  const std::string installer = LowerCase(spec.installer());
  if (installer != "python" && installer != "binary") {
    return InvalidError(
        fmt::format("unknown installer '{}'; it is python or binary", spec.installer()));
  }
  return !spec.url().empty();
}

Packages::Packages(PackageOptions options,
                   std::function<bool(const std::string&)> is_open)
    : options_(std::move(options)), is_open_(std::move(is_open)) {
  std::error_code ignored;
  fs::remove_all(options_.directory, ignored);
}

Packages::~Packages() {
  std::error_code ignored;
  fs::remove_all(options_.directory, ignored);
}

Packages::Use& Packages::Use::operator=(Use&& other) noexcept {
  std::swap(packages_, other.packages_);
  std::swap(key_, other.key_);
  std::swap(session_, other.session_);
  std::swap(environment_, other.environment_);
  return *this;
}

Packages::Use::~Use() {
  if (packages_ != nullptr) packages_->Release(key_, session_);
}

arrow::Result<Packages::Use> Packages::Acquire(const v1::Application& application,
                                               const std::string& session,
                                               const std::function<bool()>& go_on) {
  const std::string key = KeyOf(application);
  MutexLock lock(mutex_);
  auto [at, first] = packages_.try_emplace(key);
  if (first) at->second = std::make_shared<Package>();
  const std::shared_ptr<Package> package = at->second;
  const uint64_t failures = package->failures;
  ++package->waiting;
  Status status;
  while (!package->installed && status.ok()) {
    if (package->directory.empty()) {
      package->directory = fmt::format("{}/{}", options_.directory, NewUuid());
      lock.Unlock();
      auto environment = Install(application, package->directory, go_on);
      if (!environment.ok()) RemoveDirectory(package->directory);
      lock.Lock();
      if (environment.ok()) {
        package->environment = *std::move(environment);
        package->installed = true;
      } else {
        status = environment.status();
        // When we were only told to leave, somebody else takes over.
        if (!status.IsCancelled()) ++package->failures;
        package->directory.clear();
      }
      changed_.NotifyAll();
    } else {
      changed_.WaitUntil(lock, steady_clock::now() + kLook);
      if (package->installed) break;
      if (package->failures != failures)
        status = Status::Cancelled("the installation that this one waited for failed");
      lock.Unlock();
      if (status.ok() && !go_on())
        status = Status::Cancelled("it is not needed any more");
      lock.Lock();
    }
  }
  --package->waiting;
  if (!status.ok()) {
    std::string directory;
    if (const auto now = packages_.find(key);
        now != packages_.end() && now->second == package)
      directory = ForgetIfUnused(now);
    lock.Unlock();
    RemoveDirectory(directory);
    return status;
  }
  ++package->instances[session];
  Use use;
  use.packages_ = this;
  use.key_ = key;
  use.session_ = session;
  use.environment_ = package->environment;
  return use;
}

std::optional<EnvironmentMap> Packages::Foresee(
    const v1::ApplicationSpec& spec, const std::function<bool()>& go_on) const {
  if (!spec.has_installer()) return EnvironmentMap();
  if (LowerCase(spec.installer()) != "python") return std::nullopt;
  const std::string directory = fmt::format("{}/{}", options_.directory, NewUuid());
  auto process = InstallingPython(spec, directory);
  if (!process.ok() || !MakeDirectory(directory).ok()) return std::nullopt;
  for (const char* argument :
       {"-c", "import sys; print('FLAME_PYTHON_VERSION=%d.%d' % sys.version_info[:2])"})
    process->arguments.emplace_back(argument);
  EnvironmentMap environment;
  const auto deadline = steady_clock::now() + kForesight;
  if (auto started = ChildProcess::Start(*process); started.ok()) {
    while (!(*started)->AwaitExit(kLook) && go_on() && steady_clock::now() < deadline) {
    }
    (*started)->End(milliseconds(0));
    environment = ParseEnvironment(process->output_file);
  }
  RemoveDirectory(directory);
  if (environment.empty()) return std::nullopt;
  return environment;
}

arrow::Result<ProcessSpec> Packages::InstallingPython(
    const v1::ApplicationSpec& spec, const std::string& directory) const {
  const std::string version = PythonVersion(spec);
  ProcessSpec process;
  process.environment = options_.environment;
  for (const v1::Environment& variable : spec.environments()) {
    // The installer is our program: the application's modules must not stand in its way.
    if (variable.name() != "PYTHONPATH" && variable.name() != "LD_LIBRARY_PATH")
      process.environment[variable.name()] =
          ExpandVariables(variable.value(), options_.environment).text;
  }
  process.environment[kInstallVariable] = directory;
  const auto path = options_.environment.find("PATH");
  const std::string python = version.empty() ? options_.python : "python" + version;
  ARROW_ASSIGN_OR_RAISE(
      process.program,
      FindProgram(options_.launcher.empty() ? python : options_.launcher,
                  path == options_.environment.end() ? "" : path->second));
  if (!options_.launcher.empty())
    process.arguments = {"run", "--python", python, "python"};
  process.directory = directory;
  process.output_file = directory + "/install.out";
  process.error_file = directory + "/install.err";
  return process;
}

Status Packages::MakeDirectory(const std::string& directory) const {
  MutexLock lock(mutex_);  // Against the removal of the folder above it.
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return ErrnoError(error.value(), "create", directory);
  fs::permissions(options_.directory, fs::perms::owner_all, error);
  return Status::OK();
}

arrow::Result<EnvironmentMap> Packages::Install(
    const v1::Application& application, const std::string& directory,
    const std::function<bool()>& go_on) const {
  const v1::ApplicationSpec& spec = application.spec();
  ARROW_ASSIGN_OR_RAISE(ProcessSpec process, InstallingPython(spec, directory));
  for (const std::string& argument :
       {std::string("-m"), std::string("flamepy.runner.packages"), spec.url(),
        std::string("--directory"), directory, std::string("--environment"),
        LowerCase(spec.installer())})
    process.arguments.push_back(argument);
  ARROW_RETURN_NOT_OK(MakeDirectory(directory));
  FLAME_LOG_INFO(session, "application {}: installing {}", application.metadata().name(),
                 spec.url());
  ARROW_ASSIGN_OR_RAISE(const auto child, ChildProcess::Start(process));
  const auto deadline = steady_clock::now() + options_.timeout;
  Status status;
  while (!child->AwaitExit(kLook)) {
    Cut(process.output_file, options_.log_limit);
    Cut(process.error_file, options_.log_limit);
    if (!go_on()) {
      status = Status::Cancelled("it is not needed any more");
    } else if (steady_clock::now() >= deadline) {
      status = InvalidError(fmt::format(
          "installing {} took longer than {} s; the end of what it said:\n{}", spec.url(),
          std::chrono::duration_cast<std::chrono::seconds>(options_.timeout).count(),
          TailOf(process.error_file, kTailBytes)));
    }
    if (!status.ok()) break;
  }
  const std::string ended = status.ok() ? child->HowItEnded() : "";
  child->End(status.ok() ? milliseconds(0) : kKillGrace);
  KillByEnvironment(kInstallVariable, directory);
  ARROW_RETURN_NOT_OK(status);
  if (ended != "it exited with code 0") {
    return InvalidError(
        fmt::format("{} cannot be installed: {}; the end of what it said:\n{}",
                    spec.url(), ended, TailOf(process.error_file, kTailBytes)));
  }
  return ParseEnvironment(process.output_file);
}

void Packages::Release(const std::string& key, const std::string& session) {
  std::string directory;
  {
    MutexLock lock(mutex_);
    const auto at = packages_.find(key);
    --at->second->instances.at(session);
    directory = ForgetIfUnused(at);
  }
  RemoveDirectory(directory);
}

void Packages::SessionClosed(const std::string& session) {
  std::vector<std::string> directories;
  {
    MutexLock lock(mutex_);
    for (auto at = packages_.begin(); at != packages_.end();) {
      const auto next = std::next(at);
      if (at->second->instances.contains(session))
        directories.push_back(ForgetIfUnused(at));
      at = next;
    }
  }
  for (const std::string& directory : directories) RemoveDirectory(directory);
}

std::string Packages::ForgetIfUnused(Map::iterator at) {
  Package& package = *at->second;
  std::erase_if(package.instances, [this](const auto& entry) {
    return entry.second == 0 && !is_open_(entry.first);
  });
  if (!package.instances.empty() || package.waiting > 0) return "";
  const std::string directory = package.directory;
  packages_.erase(at);
  return directory;
}

void Packages::RemoveDirectory(const std::string& directory) const {
  if (directory.empty()) return;
  std::error_code error;
  fs::remove_all(directory, error);
  if (error) FLAME_LOG_WARN(session, "remove {}: {}", directory, error.message());
  MutexLock lock(mutex_);
  rmdir(options_.directory.c_str());  // Once there is no other one.
}

}  // namespace flame
