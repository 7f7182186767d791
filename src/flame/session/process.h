// ChildProcess: a service's process with all that it starts. It has a process group of
// its own; ending it means the group, and nothing is left to reap.
//
// Used by one thread at a time. The kernel kills the child when the thread that started
// it, or the whole server, goes without a word.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "flame/session/expand.h"

namespace flame {

struct ProcessSpec {
  std::string program;  // A path; no shell and no search.
  std::vector<std::string> arguments;
  EnvironmentMap environment;  // All of it: nothing is inherited.
  std::string directory;
  std::string input_file = "/dev/null";
  int input = -1;           // Instead of the file: borrowed for Start().
  std::string output_file;  // Standard output, truncated.
  std::string error_file;   // Standard error, truncated.
};

class ChildProcess {
 public:
  /// Fails when the program cannot be executed, naming it and why.
  static arrow::Result<std::unique_ptr<ChildProcess>> Start(const ProcessSpec& spec);
  /// End(0) if nobody did.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  int pid() const { return pid_; }
  /// Wait up to `patience` for the process to end; true = it has.
  bool AwaitExit(std::chrono::milliseconds patience) const;
  /// "it exited with code 3", "it was killed by signal 9 (Killed)". REQUIRES: it ended.
  std::string HowItEnded() const;
  /// SIGTERM to the group, up to `grace` for the process to go, SIGKILL to what is left
  /// of the group, reap.
  void End(std::chrono::milliseconds grace);

 private:
  explicit ChildProcess(int pid);

  const int pid_;
  int pidfd_ = -1;  // -1 = the kernel has none; then we poll.
  bool reaped_ = false;
};

/// Where `command` is: itself if it has a slash, else the first executable of that name
/// in the folders of `path`. An error names both.
arrow::Result<std::string> FindProgram(const std::string& command,
                                       const std::string& path);

/// Kill, and wait for, every process of this user whose environment has `name` with a
/// value that starts with `prefix`: what left its process group, or outlived a server.
/// Returns how many.
int KillByEnvironment(const std::string& name, const std::string& prefix);

/// The end of a file, at most `bytes`, as UTF-8; empty if there is none.
std::string TailOf(const std::string& path, int64_t bytes);

}  // namespace flame
