#include "flame/session/spares.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/session/task_pipe.h"
#include "flame/storage/uuid.h"

namespace flame {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr char kWorker[] = "flamepy.runner.runpy";
constexpr char kSpare[] = "flamepy.runner.spare";
/// How often one is looked at that starts, and those that wait.
constexpr milliseconds kStarting{10};
constexpr milliseconds kWaiting{1000};
/// Imports take half a second of a CPU. What a session needs that found a spare; and one
/// that did not, and starts a process of its own.
constexpr milliseconds kPause{300};
constexpr milliseconds kLongPause{1000};

bool IsWorker(const v1::ApplicationSpec& spec) {
  const int size = spec.arguments_size();
  return size >= 2 && spec.arguments(size - 1) == kWorker &&
         spec.arguments(size - 2) == "-m";
}
constexpr int64_t kTailBytes = 500;

void RemoveSockets(const std::string& path) {
  std::error_code ignored;
  fs::remove(path, ignored);
  fs::remove(path + kTaskPipeEnding, ignored);
}

}  // namespace

Spares::Spares(SpareOptions options, LaunchOptions launch)
    : options_(std::move(options)), launch_(std::move(launch)) {
  std::error_code ignored;
  fs::remove_all(options_.directory, ignored);
  if (options_.count > 0) thread_ = std::thread([this] { Run(); });
}

Spares::~Spares() {
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  std::error_code ignored;
  fs::remove_all(options_.directory, ignored);
}

std::optional<Spares::Line> Spares::LineOf(const v1::ApplicationSpec& spec,
                                           const EnvironmentMap& package) const {
  if (options_.count <= 0 || !IsWorker(spec)) return std::nullopt;
  EnvironmentMap common = package;
  for (const char* name : {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH"}) common.erase(name);
  const auto process = BuildProcess(launch_, spec, InstanceFiles(), common);
  if (!process.ok()) return std::nullopt;
  return Line{process->program, process->arguments, process->environment};
}

std::optional<Spares::Claimed> Spares::Claim(const Line& line) {
  MutexLock lock(mutex_);
  if (const auto found = kept_.find(line); found != kept_.end()) {
    auto& spares = found->second.spares;
    for (auto at = spares.begin(); at != spares.end(); ++at) {
      if (!IsReady(&*at) || at->child->AwaitExit(milliseconds(0))) continue;
      Claimed claimed(std::move(at->child), at->socket, std::exchange(at->orders, -1));
      std::error_code ignored;
      fs::remove_all(at->directory, ignored);
      spares.erase(at);
      Pause(kPause);
      return claimed;
    }
  }
  Pause(kLongPause);
  return std::nullopt;
}

Spares::Claimed::~Claimed() {
  if (orders_ >= 0) close(orders_);
  if (child_ != nullptr) RemoveSockets(socket_);
}

std::unique_ptr<ChildProcess> Spares::Claimed::Order(const ProcessSpec& process,
                                                     const std::string& guard) {
  std::string body;
  for (const std::string& field :
       {process.directory, process.output_file, process.error_file, guard})
    body.append(field).push_back('\0');
  for (const auto& [name, value] : process.environment)
    body.append(name).append("=").append(value).push_back('\0');
  const auto size = static_cast<uint32_t>(body.size());
  std::string message(sizeof size, '\0');
  std::memcpy(message.data(), &size, sizeof size);
  message += body;
  for (size_t sent = 0; sent < message.size();) {
    const ssize_t more =
        send(orders_, message.data() + sent, message.size() - sent, MSG_NOSIGNAL);
    if (more < 0 && errno == EINTR) continue;
    if (more <= 0) return nullptr;
    sent += static_cast<size_t>(more);
  }
  return std::move(child_);
}

Spares::Answer Spares::Claimed::AwaitAnswer(milliseconds patience) {
  pollfd wait{orders_, POLLIN, 0};
  if (poll(&wait, 1, static_cast<int>(patience.count())) <= 0) return Answer::kNone;
  char word = 0;
  const ssize_t got = recv(orders_, &word, 1, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Answer::kNone;
  return got == 1 ? Answer::kServes : Answer::kStartsAnew;
}

void Spares::Used(const Line& line) {
  if (options_.count <= 0) return;
  MutexLock lock(mutex_);
  Kept& kept = kept_[line];
  kept.used = steady_clock::now();
  kept.guessed = false;
  Pause(kPause);
  changed_.NotifyAll();
}

void Spares::Guess(const v1::ApplicationSpec& spec) {
  if (options_.count <= 0 || !IsWorker(spec)) return;
  MutexLock lock(mutex_);
  guess_ = spec;
  Pause(kPause);  // Often others follow at once, or a session.
  changed_.NotifyAll();
}

void Spares::Pause(milliseconds time) {
  // Not from the last of many: then there would never be any.
  const auto now = steady_clock::now();
  if (quiet_until_ <= now) quiet_until_ = now + time;
}

void Spares::TakeGuess(const v1::ApplicationSpec& guess) {
  v1::ApplicationSpec spec;  // What matters of it: every runner has its own package.
  spec.set_command(guess.command());
  *spec.mutable_arguments() = guess.arguments();
  *spec.mutable_environments() = guess.environments();
  if (guess.has_installer()) spec.set_installer(guess.installer());
  std::string text = spec.SerializeAsString();
  if (text != guessed_ || !guessed_line_) {
    const auto package = options_.foresee(spec, [this] {
      MutexLock lock(mutex_);
      return !stopped_;
    });
    guessed_ = std::move(text);
    guessed_line_ = package ? LineOf(spec, *package) : std::nullopt;
  }
  MutexLock lock(mutex_);
  const auto now = steady_clock::now();
  for (auto& [other, kept] : kept_) {
    if (kept.guessed) kept.used = now - 2 * options_.idle_limit;  // It goes at once.
  }
  if (!guessed_line_) return;
  const auto [at, is_new] = kept_.try_emplace(*guessed_line_);
  at->second.used = now;
  if (is_new) at->second.guessed = true;
}

void Spares::Run() {
  MutexLock lock(mutex_);
  while (!stopped_) {
    const bool quiet = steady_clock::now() < quiet_until_;
    if (guess_ && !quiet) {
      const v1::ApplicationSpec guess = *std::exchange(guess_, std::nullopt);
      lock.Unlock();
      TakeGuess(guess);
      lock.Lock();
      continue;
    }
    std::list<Spare> ended;
    bool starting = false;
    for (auto at = kept_.begin(); at != kept_.end();) {
      const bool stays = Tend(at->first, &at->second, &ended);
      for (const Spare& spare : at->second.spares) starting = starting || !spare.ready;
      at = stays ? std::next(at) : kept_.erase(at);
    }
    auto next = steady_clock::now() + kWaiting;
    if (quiet) next = std::min(next, quiet_until_);
    // One at a time: the machine has better things to do than to start many at once.
    for (auto& [line, kept] : kept_) {
      if (starting || quiet || steady_clock::now() < kept.not_before ||
          static_cast<int64_t>(kept.spares.size()) >= options_.count)
        continue;
      auto spare = Start(line);
      if (spare.ok()) {
        kept.spares.push_back(*std::move(spare));
        starting = true;
      } else {
        kept.not_before = steady_clock::now() + options_.idle_limit;
        FLAME_LOG_INFO(session, "no spare instance: {}", spare.status().message());
      }
    }
    if (!ended.empty()) {
      lock.Unlock();
      for (Spare& spare : ended) End(&spare);
      lock.Lock();
      continue;
    }
    if (starting) next = steady_clock::now() + kStarting;
    if (!stopped_) changed_.WaitUntil(lock, next);
  }
  for (auto& [line, kept] : kept_) {
    for (Spare& spare : kept.spares) End(&spare);
  }
  kept_.clear();
}

bool Spares::IsReady(Spare* spare) {
  char word = 0;
  if (!spare->ready && recv(spare->orders, &word, 1, MSG_DONTWAIT) == 1)
    spare->ready = true;
  return spare->ready;
}

bool Spares::Tend(const Line& line, Kept* kept, std::list<Spare>* ended) {
  const auto now = steady_clock::now();
  const bool idle = now - kept->used > options_.idle_limit;
  for (auto at = kept->spares.begin(); at != kept->spares.end();) {
    IsReady(&*at);
    const bool dead = at->child->AwaitExit(milliseconds(0));
    const bool late = !at->ready && now - at->started > options_.start_timeout;
    const auto next = std::next(at);
    if (dead || late) {
      // The published client's Python has no such module: then there are none.
      FLAME_LOG_INFO(session, "a spare instance of {} {}: {}", line.program,
                     dead ? "ended" : "is not ready in time",
                     TailOf(at->directory + "/spare.err", kTailBytes));
      kept->not_before = now + options_.idle_limit;
    }
    if (dead || late || idle) ended->splice(ended->end(), kept->spares, at);
    at = next;
  }
  return !idle;
}

arrow::Result<Spares::Spare> Spares::Start(const Line& line) const {
  Spare spare;
  const std::string id = NewUuid();
  spare.directory = options_.directory + "/" + id;
  spare.socket = fmt::format("{}/{}.sock", launch_.socket_dir, id);
  spare.started = steady_clock::now();
  std::error_code error;
  fs::create_directories(spare.directory, error);
  if (error) return ErrnoError(error.value(), "create", spare.directory);
  ProcessSpec process;
  process.program = line.program;
  process.arguments = line.arguments;
  process.arguments.back() = kSpare;
  process.environment = line.environment;
  process.environment["FLAME_INSTANCE_ENDPOINT"] = spare.socket;
  for (const char* name : {"TMPDIR", "TEMP", "TMP"})
    process.environment[name] = spare.directory;
  process.directory = spare.directory;
  process.output_file = spare.directory + "/spare.out";
  process.error_file = spare.directory + "/spare.err";
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return ErrnoError(errno, "make", "a pair of sockets");
  process.input = ends[1];
  auto child = ChildProcess::Start(process);
  close(ends[1]);
  if (!child.ok()) {
    close(ends[0]);
    return child.status();
  }
  spare.orders = ends[0];
  spare.child = *std::move(child);
  return spare;
}

void Spares::End(Spare* spare) {
  if (spare->child) spare->child->End(milliseconds(0));
  if (spare->orders >= 0) close(std::exchange(spare->orders, -1));
  std::error_code ignored;
  fs::remove_all(spare->directory, ignored);
  RemoveSockets(spare->socket);
}

}  // namespace flame
