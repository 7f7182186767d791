#include "flame/session/executor.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/session/process.h"
#include "flame/session/shim_client.h"
#include "flame/session/shim_reply.h"
#include "flame/v1/shim.pb.h"

namespace flame {
namespace {

using arrow::Status;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// How often an executor that waits looks after its process.
constexpr milliseconds kLook{500};
/// How often one is looked after that does not answer its orders at once.
constexpr milliseconds kAnswer{100};
/// A call of a process that has died fails by itself; if not, it is given up after this.
constexpr milliseconds kLastWords{1000};
constexpr milliseconds kStoreRetry{200};
constexpr int64_t kTailBytes = 2048;

struct Failure {
  BindFailure code;
  std::string detail;
};

/// One executor's life; all of it on one thread.
class InstanceRun {
 public:
  InstanceRun(const ExecutorOptions& options, SessionManager* manager, Packages* packages,
              Spares* spares, InstanceLogs* logs, const Assignment& assignment,
              const std::atomic<bool>* ending)
      : options_(options),
        manager_(manager),
        packages_(packages),
        spares_(spares),
        logs_(logs),
        assignment_(assignment),
        ending_(ending) {}

  void Run() {
    if (const auto failure = Start()) {
      if (!Ending() && !left_) manager_->BindFailed(id(), failure->code, failure->detail);
    } else {
      manager_->Bound(id());
      if (line_) spares_->Used(*line_);
      Serve();
    }
    End();
    manager_->Released(id());
  }

 private:
  const std::string& id() const { return assignment_.executor; }
  bool Ending() const { return *ending_; }

  std::optional<Failure> Start() {
    const v1::ApplicationSpec& spec = assignment_.application.spec();
    if (auto failure = InstallPackage()) return failure;
    auto files = InstanceFiles::Create(options_.launch, id(), assignment_.application);
    if (!files.ok()) return Failure{BindFailure::kLaunch, files.status().message()};
    files_ = *std::move(files);
    line_ = spares_->LineOf(spec, package_.environment());
    if (const Status started = StartProcess(spec); !started.ok())
      return Failure{BindFailure::kLaunch, started.message()};
    logs_->Started(id(), assignment_.session, assignment_.application.metadata().name(),
                   files_->out_file, files_->err_file, Clock::System()->WallMs());
    FLAME_LOG_INFO(session, "session {}: executor {} started process {}",
                   assignment_.session, id(), child_->pid());
    if (auto failure = AwaitService()) return failure;
    return Enter();
  }

  Status StartProcess(const v1::ApplicationSpec& spec) {
    if (auto spare = line_ ? spares_->Claim(*line_) : std::nullopt) {
      spare_.emplace(*std::move(spare));
      LaunchOptions launch = options_.launch;
      launch.python_dir.clear();  // It has been there already.
      const std::string socket = std::exchange(files_->socket, spare_->socket());
      ARROW_ASSIGN_OR_RAISE(const auto process,
                            BuildProcess(launch, spec, *files_, package_.environment()));
      child_ = spare_->Order(process, options_.launch.python_dir);
      if (child_ != nullptr) return Status::OK();
      files_->socket = socket;  // It was gone: as if it had never been.
      spare_.reset();
    }
    ARROW_ASSIGN_OR_RAISE(const auto process, BuildProcess(options_.launch, spec, *files_,
                                                           package_.environment()));
    return ChildProcess::Start(process).Value(&child_);
  }

  std::optional<Failure> InstallPackage() {
    const auto needs = NeedsPackage(assignment_.application.spec());
    if (!needs.ok()) return Failure{BindFailure::kInstall, needs.status().message()};
    if (!*needs) return std::nullopt;
    auto use = packages_->Acquire(assignment_.application, assignment_.session, [this] {
      return !Ending() && !manager_->MustLeave(id());
    });
    if (use.ok()) {
      package_ = *std::move(use);
      return std::nullopt;
    }
    left_ = use.status().IsCancelled();
    return Failure{BindFailure::kInstall, use.status().message()};
  }

  std::optional<Failure> AwaitService() {
    const auto deadline = steady_clock::now() + options_.start_timeout;
    while (spare_ && spare_->AwaitAnswer(kAnswer) == Spares::Answer::kNone) {
      if (auto failure = CheckStarting(deadline, milliseconds(0))) return failure;
    }
    spare_.reset();
    milliseconds pause(2);
    while (access(files_->socket.c_str(), F_OK) != 0) {
      if (auto failure = CheckStarting(deadline, pause)) return failure;
      pause = std::min(pause * 2, milliseconds(50));
    }
    client_.emplace(files_->socket, options_.max_reply);
    while (!client_->AwaitConnected(milliseconds(100))) {
      if (auto failure = CheckStarting(deadline, milliseconds(0))) return failure;
    }
    return std::nullopt;
  }

  std::optional<Failure> CheckStarting(steady_clock::time_point deadline,
                                       milliseconds pause) {
    if (child_->AwaitExit(pause))
      return Failure{BindFailure::kLaunch, Dead("before it served its socket")};
    if (Ending() || manager_->MustLeave(id())) {
      left_ = true;
      return Failure{BindFailure::kOther, "it is not needed any more"};
    }
    TrimOutput();
    if (steady_clock::now() < deadline) return std::nullopt;
    return Failure{BindFailure::kLaunch,
                   fmt::format("the service did not listen on its socket within {} s{}",
                               std::chrono::duration_cast<std::chrono::seconds>(
                                   options_.start_timeout)
                                   .count(),
                               Tail())};
  }

  std::optional<Failure> Enter() {
    const v1::ApplicationSpec& spec = assignment_.application.spec();
    v1::SessionContext context;
    context.set_session_id(assignment_.session);
    auto* application = context.mutable_application();
    application->set_name(assignment_.application.metadata().name());
    application->set_shim(spec.shim());
    if (spec.has_image()) application->set_image(spec.image());
    if (spec.has_command()) application->set_command(spec.command());
    if (spec.has_working_directory())
      application->set_working_directory(spec.working_directory());
    if (spec.has_url()) application->set_url(spec.url());
    if (spec.has_installer()) application->set_installer(spec.installer());
    if (assignment_.common_data) context.set_common_data(*assignment_.common_data);
    entered_ = true;  // Also after a failure the service is told that it is over.
    const auto deadline = steady_clock::now() + options_.enter_timeout;
    bool late = false;
    const auto reply = client_->Call("OnSessionEnter", context, [&] {
      if (Ending() || manager_->MustLeave(id())) {
        left_ = true;
        return false;
      }
      late = steady_clock::now() >= deadline;
      return !late && Lives();
    });
    if (late)
      return Failure{BindFailure::kSessionEnter, "OnSessionEnter took too long" + Tail()};
    if (DiedIn(reply.status))
      return Failure{BindFailure::kSessionEnter, Dead("in OnSessionEnter")};
    if (!reply.status.ok())
      return Failure{BindFailure::kSessionEnter, reply.status.error_message()};
    const auto result = ParseResultReply(reply.bytes);
    if (!result.ok())
      return Failure{BindFailure::kSessionEnter, result.status().message()};
    if (result->return_code() == 0) {
      client_->OpenPipe();
      return std::nullopt;
    }
    return Failure{BindFailure::kSessionEnter,
                   result->message().empty()
                       ? fmt::format("OnSessionEnter answered {}", result->return_code())
                       : result->message()};
  }

  void Serve() {
    TaskWork work;
    while (!Ending()) {
      const auto next = manager_->AwaitWork(id(), kLook, &work);
      if (next == SessionManager::Next::kLeave) return;
      // The pause is for a task that came back at once because the disk fails.
      const bool nothing = next == SessionManager::Next::kNothing;
      if (child_->AwaitExit(milliseconds(nothing ? 2 : 0))) {
        // With a task in hand or not: the process never saw it.
        manager_->Died(id(), Dead("while it was idle"));
        return;
      }
      TrimOutput();
      if (next == SessionManager::Next::kTask && !Invoke(&work)) return;
    }
  }

  /// False = the instance is of no use any more.
  bool Invoke(TaskWork* work) {
    v1::TaskContext context;
    context.set_task_id(work->id);
    context.set_session_id(work->session);
    if (work->input) context.set_input(*std::exchange(work->input, std::nullopt));
    const auto reply = client_->Invoke(context, [this] { return !Ending() && Lives(); });
    if (Ending()) return false;
    context.Clear();
    TaskOutcome outcome;
    bool usable = true;
    if (!reply.status.ok()) {
      const bool dead = DiedIn(reply.status);
      usable = !dead && reply.status.error_code() != grpc::StatusCode::UNAVAILABLE;
      outcome.message =
          dead ? Dead(fmt::format("in task {}", work->id))
               : fmt::format("the service failed: {}", reply.status.error_message());
    } else if (auto result = ParseTaskReply(reply.bytes); !result.ok()) {
      outcome.message = result.status().message();
    } else {
      outcome.succeeded = result->return_code() == 0;
      if (result->has_output()) outcome.output = std::move(*result->mutable_output());
      outcome.message = std::move(*result->mutable_message());
    }
    Report(std::move(outcome));
    return usable;
  }

  /// Until it is stored, or the server goes.
  void Report(TaskOutcome outcome) {
    for (;;) {
      const Status stored = manager_->Complete(id(), outcome);
      if (stored.ok() || Ending()) return;
      FLAME_LOG_WARN(session, "store the result of a task of session {}: {}; again soon",
                     assignment_.session, stored.ToString());
      child_->AwaitExit(kStoreRetry);
    }
  }

  /// False once the process has been dead for a moment.
  bool Lives() {
    TrimOutput();
    if (!child_->AwaitExit(milliseconds(0))) return true;
    const auto now = steady_clock::now();
    if (!dead_since_) dead_since_ = now;
    return now - *dead_since_ < kLastWords;
  }

  /// Whether the process is dead, after a call that ended with `status`: its end of the
  /// connection may close a moment before it is gone.
  bool DiedIn(const grpc::Status& status) const {
    const bool lost = status.error_code() == grpc::StatusCode::UNAVAILABLE;
    return child_->AwaitExit(lost ? kLook : milliseconds(0));
  }

  std::string Dead(std::string_view when) const {
    return fmt::format("the service process died {}: {}{}", when, child_->HowItEnded(),
                       Tail());
  }

  std::string Tail() const {
    const std::string tail = TailOf(files_->err_file, kTailBytes);
    return tail.empty() ? "; it wrote nothing to standard error"
                        : "; the end of its standard error:\n" + tail;
  }

  /// The child appends, so what it writes next comes at the start.
  void TrimOutput() const {
    for (const std::string& path : {files_->out_file, files_->err_file}) {
      struct stat info {};
      if (stat(path.c_str(), &info) == 0 && info.st_size > options_.output_limit &&
          truncate(path.c_str(), 0) == 0)
        FLAME_LOG_WARN(session, "cut {} at {} bytes", path, info.st_size);
      else
        continue;
      logs_->Cut(id(), path == files_->err_file);
    }
  }

  void End() {
    if (child_) {
      if (entered_ && !Ending() && !child_->AwaitExit(milliseconds(0))) {
        const auto deadline = steady_clock::now() + options_.leave_timeout;
        // Whatever it answers, it goes.
        client_->Call("OnSessionLeave", v1::EmptyRequest(), [&] {
          return !Ending() && steady_clock::now() < deadline && Lives();
        });
      }
      child_->End(Ending() ? milliseconds(0) : options_.kill_grace);
      const int strays = KillByEnvironment("FLAME_INSTANCE_ENDPOINT", files_->socket);
      if (strays > 0)
        FLAME_LOG_WARN(session, "session {}: ended {} processes that the service left",
                       assignment_.session, strays);
      FLAME_LOG_INFO(session, "session {}: executor {} ended process {}",
                     assignment_.session, id(), child_->pid());
      logs_->Ended(id(), Clock::System()->WallMs());
    }
    if (files_) files_->Remove();
  }

  const ExecutorOptions& options_;
  SessionManager* const manager_;
  Packages* const packages_;
  Spares* const spares_;
  InstanceLogs* const logs_;
  const Assignment& assignment_;
  const std::atomic<bool>* const ending_;

  Packages::Use package_;
  std::optional<Spares::Line> line_;  // Of those that spares may be started with.
  std::optional<InstanceFiles> files_;
  std::optional<Spares::Claimed> spare_;  // That has not answered its orders yet.
  std::unique_ptr<ChildProcess> child_;
  std::optional<ShimClient> client_;
  std::optional<steady_clock::time_point> dead_since_;
  bool entered_ = false;
  bool left_ = false;  // Told to leave while it was starting.
};

}  // namespace

ExecutorPool::ExecutorPool(ExecutorOptions options, SessionManager* manager,
                           InstanceLogs* logs)
    : options_(std::move(options)),
      manager_(manager),
      logs_(logs),
      packages_(options_.packages, [manager](const std::string& session) {
        return manager->IsOpen(session);
      }) {}

void ExecutorPool::SetEndpoint(std::string endpoint) {
  options_.launch.endpoint = std::move(endpoint);
  options_.spares.foresee = [this](const auto& spec, const auto& go_on) {
    return packages_.Foresee(spec, go_on);
  };
  spares_.emplace(options_.spares, options_.launch);
}

void ExecutorPool::Launch(Assignment assignment) {
  MutexLock lock(mutex_);
  for (auto at = running_.begin(); at != running_.end();) {
    if (!at->done) {
      ++at;
      continue;
    }
    at->thread.join();
    at = running_.erase(at);
  }
  Running& running = running_.emplace_back();
  running.thread = std::thread([this, &running, assignment = std::move(assignment)] {
    InstanceRun(options_, manager_, &packages_, &*spares_, logs_, assignment, &ending_)
        .Run();
    running.done = true;
  });
}

ExecutorPool::~ExecutorPool() {
  EndAll();
  MutexLock lock(mutex_);
  for (Running& running : running_) running.thread.join();
}

}  // namespace flame
