#include "flame/session/launch.h"

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr char kExecutor[] = "01234567-89ab-cdef-0123-456789abcdef";

class LaunchTest : public ::testing::Test {
 protected:
  LaunchTest() {
    options_.work_dir = folder_ / "w";
    options_.socket_dir = folder_ / "s";
    options_.endpoint = "http://127.0.0.1:8080";
    options_.inherited = {{"PATH", "/usr/bin:/bin"}, {"HOME", "/home/ann"}};
    application_.mutable_metadata()->set_name("app");
    application_.mutable_spec()->set_command("/bin/sh");
  }
  InstanceFiles Create() {
    auto files = InstanceFiles::Create(options_, kExecutor, application_);
    EXPECT_OK(files);
    return files.ok() ? *files : InstanceFiles();
  }
  void AddEnvironment(const std::string& name, const std::string& value) {
    auto* variable = application_.mutable_spec()->add_environments();
    variable->set_name(name);
    variable->set_value(value);
  }
  static mode_t ModeOf(const std::string& path) {
    struct stat info {};
    EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 0777;
  }

  TempDirectory folder_;
  LaunchOptions options_;
  v1::Application application_;
};

TEST_F(LaunchTest, InstanceGetsAPrivateFolderThatGoesWithIt) {
  const InstanceFiles files = Create();
  EXPECT_EQ(files.directory, folder_ / "w/" + kExecutor);
  EXPECT_EQ(files.app_dir, files.directory + "/work/app");
  EXPECT_EQ(files.socket, folder_ / "s/" + kExecutor + ".sock");
  EXPECT_EQ(ModeOf(files.directory), 0700U);
  EXPECT_EQ(ModeOf(files.app_dir + "/tmp"), 0700U);
  std::ofstream(files.socket) << "x";
  files.Remove();
  EXPECT_FALSE(fs::exists(files.directory));
  EXPECT_FALSE(fs::exists(files.socket));
}

TEST_F(LaunchTest, WorkingDirectoryStaysAndIsShared) {
  const std::string directory = folder_ / "mine";
  application_.mutable_spec()->set_working_directory(directory);
  const InstanceFiles files = Create();
  EXPECT_EQ(files.directory, directory);
  EXPECT_EQ(files.app_dir, directory + "/work/app/" + kExecutor);
  auto other = InstanceFiles::Create(options_, "11234567-89ab-cdef-0123-456789abcdef",
                                     application_);
  ASSERT_OK(other);
  files.Remove();
  EXPECT_TRUE(fs::exists(other->app_dir + "/tmp"));
  other->Remove();
  EXPECT_TRUE(fs::exists(directory));
  EXPECT_FALSE(fs::exists(directory + "/work"));
}

TEST_F(LaunchTest, SocketPathThatIsTooLongIsAClearError) {
  options_.socket_dir = folder_ / std::string(80, 'x');
  const auto files = InstanceFiles::Create(options_, kExecutor, application_);
  ASSERT_FALSE(files.ok());
  EXPECT_THAT(files.status().message(), HasSubstr("FLAME_SOCKET_DIR"));
}

TEST_F(LaunchTest, EnvironmentIsWhatTheProtocolSays) {
  options_.cache_endpoint = "grpc://127.0.0.1:9090";
  options_.ca_file = "/ca.pem";
  AddEnvironment("A", "$HOME/x");
  AddEnvironment("B", "$HOME/$NONE");
  AddEnvironment("C", "1");
  AddEnvironment("C", "2");
  AddEnvironment("RUST_LOG", "trace");
  const InstanceFiles files = Create();
  const EnvironmentMap environment =
      BuildEnvironment(options_, application_.spec(), files);
  const EnvironmentMap expected{{"PATH", "/usr/bin:/bin"},
                                {"HOME", "/home/ann"},
                                {"FLAME_HOME", "/opt/flame"},
                                {"A", "/home/ann/x"},
                                {"B", "$HOME/$NONE"},
                                {"C", "2"},
                                {"RUST_LOG", "info"},
                                {"FLAME_LOG", "info"},
                                {"FLAME_INSTANCE_ENDPOINT", files.socket},
                                {"FLAME_INSTANCE_PIPE", "1"},
                                {"FLAME_ENDPOINT", "http://127.0.0.1:8080"},
                                {"FLAME_CACHE_ENDPOINT", "grpc://127.0.0.1:9090"},
                                {"FLAME_CA_FILE", "/ca.pem"},
                                {"TMPDIR", files.app_dir + "/tmp"},
                                {"TEMP", files.app_dir + "/tmp"},
                                {"TMP", files.app_dir + "/tmp"}};
  EXPECT_EQ(environment, expected);
}

TEST_F(LaunchTest, CredentialsStayWithTheServer) {
  for (const char* name : {"PATH", "HOME", "LC_ALL", "PYTHONPATH", "FLAME_HOME"})
    EXPECT_TRUE(PassedOn(name)) << name;
  for (const char* name : {"AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "LD_PRELOAD",
                           "FLAME_SESSION_STORAGE", "TMPDIR", "PATHX", ""})
    EXPECT_FALSE(PassedOn(name)) << name;
}

TEST_F(LaunchTest, CommandLineIsExpanded) {
  auto* spec = application_.mutable_spec();
  spec->set_command("${FLAME_HOME}/bin/uv");
  spec->add_arguments("run");
  spec->add_arguments("python${FLAME_PYTHON_VERSION}");
  AddEnvironment("FLAME_PYTHON_VERSION", "3.12");
  ASSERT_OK_AND_ASSIGN(const auto process, BuildProcess(options_, *spec, Create()));
  EXPECT_EQ(process.program, "/opt/flame/bin/uv");
  EXPECT_THAT(process.arguments, ElementsAre("run", "python3.12"));
}

TEST_F(LaunchTest, OwnProgramsStandInForThoseThatFlameHomeLacks) {
  options_.home = folder_ / "home";
  options_.own_programs = "/own/bin";
  const auto program = [this](const std::string& command) {
    application_.mutable_spec()->set_command(command);
    auto process = BuildProcess(options_, application_.spec(), Create());
    EXPECT_OK(process);
    return process.ok() ? process->program : "";
  };
  EXPECT_EQ(program("${FLAME_HOME}/bin/uv"), "/own/bin/flame-uv");
  EXPECT_EQ(program("${FLAME_HOME}/bin/flmexec-service"), "/own/bin/flmexec-service");
  EXPECT_EQ(program("${FLAME_HOME}/bin/other"), options_.home + "/bin/other");
  EXPECT_EQ(program("/else/bin/uv"), "/else/bin/uv");
  fs::create_directories(options_.home + "/bin");
  std::ofstream(options_.home + "/bin/uv") << "#!/bin/sh";
  fs::permissions(options_.home + "/bin/uv", fs::perms::owner_all);
  EXPECT_EQ(program("${FLAME_HOME}/bin/uv"), options_.home + "/bin/uv");
}

TEST_F(LaunchTest, CommandIsLookedForInThePath) {
  application_.mutable_spec()->set_command("sh");
  ASSERT_OK_AND_ASSIGN(const auto process,
                       BuildProcess(options_, application_.spec(), Create()));
  EXPECT_TRUE(process.program == "/usr/bin/sh" || process.program == "/bin/sh");
  application_.mutable_spec()->set_command("no-such-program");
  EXPECT_THAT(BuildProcess(options_, application_.spec(), Create()).status().message(),
              HasSubstr("there is no program 'no-such-program'"));
  application_.mutable_spec()->clear_command();
  EXPECT_THAT(BuildProcess(options_, application_.spec(), Create()).status().message(),
              HasSubstr("has no command"));
}

TEST_F(LaunchTest, LeftoversAreRemovedAndNothingElse) {
  const InstanceFiles files = Create();
  std::ofstream(files.socket) << "x";
  std::ofstream(options_.work_dir + "/keep") << "x";
  RemoveLeftovers(options_);
  EXPECT_FALSE(fs::exists(files.directory));
  EXPECT_FALSE(fs::exists(files.socket));
  EXPECT_TRUE(fs::exists(options_.work_dir + "/keep"));
}

}  // namespace
}  // namespace flame
