#include "flame/session/process.h"

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr seconds kPatience(20);

class ProcessTest : public ::testing::Test {
 protected:
  arrow::Result<std::unique_ptr<ChildProcess>> Start(const std::string& script) {
    ProcessSpec spec;
    spec.program = "/bin/sh";
    spec.arguments = {"-c", script};
    spec.environment = environment_;
    spec.directory = folder_.path();
    spec.output_file = folder_ / "out";
    spec.error_file = folder_ / "err";
    return ChildProcess::Start(spec);
  }
  std::string Read(const std::string& name) {
    std::ifstream file(folder_ / name);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  /// The number that a script writes to a file.
  int AwaitPid(const std::string& name) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      const std::string text = Read(name);
      if (!text.empty() && text.back() == '\n') return std::stoi(text);
      std::this_thread::sleep_for(milliseconds(2));
    }
    ADD_FAILURE() << "no " << name;
    return -1;
  }
  /// Dead, or a zombie that somebody else has to reap.
  static bool AwaitGone(int pid) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
      std::string text;
      if (!std::getline(stat, text)) return true;
      if (text.find(") Z ") != text.npos) return true;
      std::this_thread::sleep_for(milliseconds(2));
    }
    return false;
  }

  TempDirectory folder_;
  EnvironmentMap environment_{{"PATH", "/usr/bin:/bin"}};
};

TEST_F(ProcessTest, RunsWithItsOwnEnvironmentFolderAndFiles) {
  environment_["X"] = "y z";
  ASSERT_OK_AND_ASSIGN(const auto child,
                       Start("echo $X $HOME; pwd >&2; ls /proc/self/fd | wc -l; exit 3"));
  ASSERT_TRUE(child->AwaitExit(kPatience));
  EXPECT_EQ(child->HowItEnded(), "it exited with code 3");
  // Standard input, output and error, and what ls opens itself.
  EXPECT_EQ(Read("out"), "y z\n4\n");
  EXPECT_EQ(Read("err"), folder_.path() + "\n");
}

TEST_F(ProcessTest, ProgramThatCannotRunIsAnError) {
  ProcessSpec spec;
  spec.program = "/no/such/program";
  spec.directory = folder_.path();
  spec.output_file = folder_ / "out";
  spec.error_file = folder_ / "err";
  EXPECT_THAT(ChildProcess::Start(spec).status().message(),
              HasSubstr("execute /no/such/program: No such file"));
  spec.program = "/bin/sh";
  spec.directory = "/no/such/folder";
  EXPECT_THAT(ChildProcess::Start(spec).status().message(),
              HasSubstr("enter /no/such/folder"));
}

TEST_F(ProcessTest, SignalsArriveThoughTheServerBlocksThem) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  ASSERT_OK_AND_ASSIGN(const auto child, Start("exec sleep 600"));
  kill(child->pid(), SIGTERM);
  EXPECT_TRUE(child->AwaitExit(kPatience));
  EXPECT_EQ(child->HowItEnded(), "it was killed by signal 15 (Terminated)");
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_F(ProcessTest, EndTakesTheWholeGroup) {
  ASSERT_OK_AND_ASSIGN(const auto child,
                       Start("trap '' TERM; sleep 600 & echo $! > pid; wait; sleep 600"));
  const int grandchild = AwaitPid("pid");
  const auto start = std::chrono::steady_clock::now();
  child->End(milliseconds(50));
  EXPECT_LT(std::chrono::steady_clock::now() - start, kPatience);
  EXPECT_TRUE(AwaitGone(grandchild));
  EXPECT_TRUE(AwaitGone(child->pid()));
}

TEST_F(ProcessTest, WhatLeftTheGroupIsFoundByItsEnvironment) {
  environment_["FLAME_TEST_MARK"] = folder_ / "socket";
  ASSERT_OK_AND_ASSIGN(
      const auto child,
      Start("setsid sh -c 'echo $$ > pid; exec sleep 600' & exec sleep 600"));
  const int stray = AwaitPid("pid");
  child->End(milliseconds(1000));
  EXPECT_EQ(kill(stray, 0), 0);
  EXPECT_EQ(KillByEnvironment("FLAME_TEST_MARK", folder_.path()), 1);
  EXPECT_TRUE(AwaitGone(stray));
  EXPECT_EQ(KillByEnvironment("FLAME_TEST_MARK", folder_.path()), 0);
}

TEST_F(ProcessTest, ThreadThatEndsTakesItsProcessAlong) {
  int pid = 0;
  std::unique_ptr<ChildProcess> child;
  std::thread([&] {
    auto started = Start("echo $$ > pid; exec sleep 600");
    ASSERT_OK(started);
    child = *std::move(started);
    pid = AwaitPid("pid");
  }).join();
  EXPECT_TRUE(child->AwaitExit(kPatience));
}

TEST_F(ProcessTest, TailIsTheEndAndUtf8) {
  std::ofstream(folder_ / "log") << std::string(5000, 'x') << "\nlast line\n\n";
  EXPECT_EQ(TailOf(folder_ / "log", 13), "x\nlast line");
  std::ofstream(folder_ / "log") << "\xff bad\n";
  EXPECT_EQ(TailOf(folder_ / "log", 100), "? bad");
  EXPECT_EQ(TailOf(folder_ / "none", 100), "");
}

}  // namespace
}  // namespace flame
