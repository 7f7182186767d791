#include "flame/session/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/session/text.h"

namespace flame {
namespace {

using arrow::Status;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Where there is no file descriptor to wait on.
constexpr milliseconds kPoll{5};

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { Close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

arrow::Result<int> OpenLog(const std::string& path) {
  // Appending, so that the file can be cut while the child writes.
  const int fd =
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
           0600);
  if (fd < 0) return ErrnoError(errno, "open", path);
  return fd;
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts)
    pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

/// All that the child needs, made before the fork: after it, in a process that had
/// threads, only system calls are safe.
struct Prepared {
  const char* program;
  char** arguments;
  char** environment;
  const char* directory;
  int input, output, error, report;
  int parent;
};

[[noreturn]] void Fail(const Prepared& prepared, char step) {
  const int error = errno;
  char message[1 + sizeof error];
  message[0] = step;
  std::memcpy(message + 1, &error, sizeof error);
  [[maybe_unused]] const ssize_t ignored =
      write(prepared.report, message, sizeof message);
  _exit(127);
}

[[noreturn]] void RunChild(const Prepared& prepared) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != prepared.parent) _exit(127);  // It died before the line above.
  struct sigaction usual {};
  usual.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &usual, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (chdir(prepared.directory) != 0) Fail(prepared, 'd');
  // The report keeps to a number above those of the three.
  if (dup2(prepared.input, 0) < 0 || dup2(prepared.output, 1) < 0 ||
      dup2(prepared.error, 2) < 0)
    Fail(prepared, 'f');
  // Everything else closes itself when the program is executed.
  syscall(SYS_close_range, 3U, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */);
  execve(prepared.program, prepared.arguments, prepared.environment);
  Fail(prepared, 'x');
}

bool Ended(int pid, siginfo_t* info) {
  *info = {};
  return waitid(P_PID, static_cast<id_t>(pid), info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info->si_pid == pid;
}

}  // namespace

arrow::Result<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    const ProcessSpec& spec) {
  std::vector<std::string> arguments{spec.program};
  arguments.insert(arguments.end(), spec.arguments.begin(), spec.arguments.end());
  std::vector<std::string> environment;
  for (const auto& [name, value] : spec.environment)
    environment.push_back(name + "=" + value);

  ARROW_ASSIGN_OR_RAISE(const int output_fd, OpenLog(spec.output_file));
  const Descriptor output(output_fd);
  ARROW_ASSIGN_OR_RAISE(const int error_fd, OpenLog(spec.error_file));
  const Descriptor error(error_fd);
  const Descriptor input(spec.input >= 0
                             ? fcntl(spec.input, F_DUPFD_CLOEXEC, 3)
                             : open(spec.input_file.c_str(), O_RDONLY | O_CLOEXEC));
  if (input.get() < 0) return ErrnoError(errno, "open", spec.input_file);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "make", "a pipe");
  const Descriptor from_child(ends[0]);
  Descriptor to_parent(ends[1]);

  auto argument_pointers = Pointers(arguments);
  auto environment_pointers = Pointers(environment);
  const Prepared prepared{spec.program.c_str(),
                          argument_pointers.data(),
                          environment_pointers.data(),
                          spec.directory.c_str(),
                          input.get(),
                          output.get(),
                          error.get(),
                          to_parent.get(),
                          getpid()};
  const int pid = fork();
  if (pid < 0) return ErrnoError(errno, "start a process for", spec.program);
  if (pid == 0) RunChild(prepared);
  setpgid(pid, pid);  // Both do it: whoever comes first.
  to_parent.Close();
  std::unique_ptr<ChildProcess> child(new ChildProcess(pid));
  char message[1 + sizeof(int)];
  ssize_t size = 0;
  do {
    size = read(from_child.get(), message, sizeof message);
  } while (size < 0 && errno == EINTR);
  if (size == 0) return child;  // The pipe closed itself: the program runs.
  int reason = 0;
  if (size == sizeof message) std::memcpy(&reason, message + 1, sizeof reason);
  child->End(milliseconds(0));
  return message[0] == 'd' ? ErrnoError(reason, "enter", spec.directory)
                           : ErrnoError(reason, "execute", spec.program);
}

ChildProcess::ChildProcess(int pid) : pid_(pid) {
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid, 0U));
}

ChildProcess::~ChildProcess() {
  End(milliseconds(0));
  if (pidfd_ >= 0) close(pidfd_);
}

bool ChildProcess::AwaitExit(milliseconds patience) const {
  if (reaped_) return true;
  siginfo_t info;
  const auto deadline = steady_clock::now() + patience;
  for (;;) {
    if (Ended(pid_, &info)) return true;
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) return false;
    if (pidfd_ < 0) {
      std::this_thread::sleep_for(std::min(left, kPoll));
      continue;
    }
    pollfd wait{pidfd_, POLLIN, 0};
    poll(&wait, 1, static_cast<int>(left.count()));
  }
}

std::string ChildProcess::HowItEnded() const {
  siginfo_t info;
  if (reaped_ || !Ended(pid_, &info)) return "it ended";
  if (info.si_code == CLD_EXITED)
    return fmt::format("it exited with code {}", info.si_status);
  return fmt::format("it was killed by signal {} ({})", info.si_status,
                     strsignal(info.si_status));
}

void ChildProcess::End(milliseconds grace) {
  if (reaped_) return;
  if (grace.count() > 0) {
    kill(-pid_, SIGTERM);
    AwaitExit(grace);
  }
  // The process itself, dead or not, is not reaped yet: the group's number is still its
  // own.
  kill(-pid_, SIGKILL);
  kill(pid_, SIGKILL);  // Where it never came to have a group.
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
}

arrow::Result<std::string> FindProgram(const std::string& command,
                                       const std::string& path) {
  if (command.find('/') != command.npos) return command;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find(':', start), path.size());
    const std::string folder = path.substr(start, end - start);
    const std::string program = (folder.empty() ? "." : folder) + "/" + command;
    std::error_code ignored;
    if (access(program.c_str(), X_OK) == 0 &&
        std::filesystem::is_regular_file(program, ignored))
      return program;
    start = end + 1;
  }
  return InvalidError(
      fmt::format("there is no program '{}' in the server's PATH ({})", command, path));
}

int KillByEnvironment(const std::string& name, const std::string& prefix) {
  const std::string wanted = name + "=" + prefix;
  int killed = 0;
  std::error_code error;
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const std::string text = entry.path().filename().string();
    if (text.find_first_not_of("0123456789") != text.npos) continue;
    const int pid = std::stoi(text);
    if (pid == getpid()) continue;
    std::ifstream file(entry.path() / "environ", std::ios::binary);
    std::string variable;
    while (std::getline(file, variable, '\0')) {
      if (!variable.starts_with(wanted)) continue;
      if (kill(pid, SIGKILL) == 0) {
        ++killed;
        found.push_back(pid);
      }
      break;
    }
  }
  // Whoever reaps them, they do nothing any more once their memory is gone.
  const auto deadline = steady_clock::now() + std::chrono::seconds(5);
  for (const int pid : found) {
    const std::string environ_path = fmt::format("/proc/{}/environ", pid);
    while (steady_clock::now() < deadline) {
      std::ifstream file(environ_path, std::ios::binary);
      if (!file || file.peek() == std::ifstream::traits_type::eof()) break;
      std::this_thread::sleep_for(kPoll);
    }
  }
  return killed;
}

std::string TailOf(const std::string& path, int64_t bytes) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return "";
  file.seekg(0, std::ios::end);
  const int64_t size = file.tellg();
  file.seekg(std::max<int64_t>(0, size - bytes));
  std::string text{std::istreambuf_iterator<char>(file),
                   std::istreambuf_iterator<char>()};
  text = MadeUtf8(std::move(text));  // It may start within a character, too.
  std::erase(text, '\0');
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace flame
