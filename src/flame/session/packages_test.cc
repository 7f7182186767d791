#include "flame/session/packages.h"

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

/// The installer is a script that does what the URL says: the real one is Python, and is
/// tested end to end.
constexpr char kInstaller[] = R"(#!/bin/sh
[ "$1" != -c ] || exec echo FLAME_PYTHON_VERSION=3.99
echo "$3" >> "$RUNS"
case "$3" in
  wait:*) while [ ! -e "${3#wait:}" ]; do sleep 0.01; done ;;
  fail:*) echo "cannot reach ${3#fail:}" >&2; exit 1 ;;
  talk:*) while :; do echo "very much to say" >&2; done ;;
esac
touch "$5/installed"
echo "PYTHONPATH=$5/src"
)";

class PackagesTest : public ::testing::Test {
 protected:
  PackagesTest() {
    const std::string python = folder_ / "python3";
    std::ofstream(python) << kInstaller;
    chmod(python.c_str(), 0700);
    options_.directory = folder_ / "packages";
    options_.python = python;
    options_.environment = {{"PATH", folder_.path() + ":/usr/bin:/bin"},
                            {"RUNS", folder_ / "runs"}};
  }
  void Open() {
    packages_ = std::make_unique<Packages>(
        options_, [this](const std::string& id) { return open_.contains(id); });
  }
  arrow::Result<Packages::Use> Acquire(const std::string& url, const std::string& session,
                                       const std::string& installer = "Python") {
    application_.mutable_metadata()->set_name("app");
    application_.mutable_spec()->set_installer(installer);
    application_.mutable_spec()->set_url(url);
    return packages_->Acquire(v1::Application(application_), session,
                              [] { return true; });
  }
  int Runs() {
    std::ifstream file(folder_ / "runs");
    return static_cast<int>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
  }
  int Installed() {
    int count = 0;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(options_.directory, ignored))
      count += fs::exists(entry.path() / "installed");
    return count;
  }

  TempDirectory folder_;
  PackageOptions options_;
  v1::Application application_;
  std::set<std::string> open_;
  std::unique_ptr<Packages> packages_;
};

TEST(PackagesNeedTest, OnlyAKnownInstallerWithAUrlNeedsOne) {
  v1::ApplicationSpec spec;
  spec.set_url("file:///x.tar.gz");
  EXPECT_EQ(NeedsPackage(spec), false);
  spec.set_installer("PyThon");
  EXPECT_EQ(NeedsPackage(spec), true);
  spec.clear_url();
  EXPECT_EQ(NeedsPackage(spec), false);
  spec.set_installer("rpm");
  EXPECT_THAT(NeedsPackage(spec).status().message(),
              HasSubstr("unknown installer 'rpm'"));
}

TEST_F(PackagesTest, VariablesAreForeseenWhereTheyDoNotDependOnThePackage) {
  const auto go_on = [] { return true; };
  v1::ApplicationSpec spec;
  Open();
  EXPECT_EQ(packages_->Foresee(spec, go_on), EnvironmentMap());
  spec.set_installer("Python");
  EXPECT_EQ(packages_->Foresee(spec, go_on),
            (EnvironmentMap{{"FLAME_PYTHON_VERSION", "3.99"}}));
  spec.set_installer("binary");  // FLAME_APP_DIR is its folder.
  EXPECT_EQ(packages_->Foresee(spec, go_on), std::nullopt);
  EXPECT_FALSE(fs::exists(options_.directory));
  options_.python = "/bin/false";
  Open();
  spec.set_installer("python");
  EXPECT_EQ(packages_->Foresee(spec, go_on), std::nullopt);
}

TEST_F(PackagesTest, PackageIsInstalledOnceAndGoesWithItsLastSession) {
  Open();
  open_ = {"s", "t"};
  {
    ASSERT_OK_AND_ASSIGN(const auto first, Acquire("u", "s"));
    ASSERT_OK_AND_ASSIGN(const auto second, Acquire("u", "t"));
    EXPECT_THAT(first.environment().at("PYTHONPATH"), HasSubstr("/packages/"));
    EXPECT_EQ(first.environment(), second.environment());
  }
  EXPECT_EQ(Runs(), 1);
  EXPECT_EQ(Installed(), 1);  // Both sessions are open.
  open_ = {"t"};
  packages_->SessionClosed("s");
  EXPECT_EQ(Installed(), 1);
  open_ = {};
  packages_->SessionClosed("t");
  EXPECT_FALSE(fs::exists(options_.directory));
}

TEST_F(PackagesTest, PackageStaysWhileAnInstanceOfAClosedSessionUsesIt) {
  Open();
  {
    ASSERT_OK_AND_ASSIGN(const auto use, Acquire("u", "s"));
    packages_->SessionClosed("s");
    EXPECT_EQ(Installed(), 1);
  }
  EXPECT_FALSE(fs::exists(options_.directory));
}

TEST_F(PackagesTest, AnotherRegistrationUrlOrVersionIsAnotherPackage) {
  Open();
  ASSERT_OK_AND_ASSIGN(const auto first, Acquire("u", "s"));
  application_.mutable_status()->set_creation_time(7);
  ASSERT_OK_AND_ASSIGN(const auto second, Acquire("u", "s"));
  ASSERT_OK_AND_ASSIGN(const auto third, Acquire("v", "s"));
  auto* version = application_.mutable_spec()->add_environments();
  version->set_name("FLAME_PYTHON_VERSION");
  version->set_value("python3");  // The script's name, too.
  ASSERT_OK_AND_ASSIGN(const auto fourth, Acquire("v", "s"));
  EXPECT_EQ(Runs(), 4);
  EXPECT_EQ(Installed(), 4);
}

TEST_F(PackagesTest, WhoComesMeanwhileWaitsForTheSameInstallation) {
  Open();
  const std::string gate = folder_ / "gate";
  std::vector<std::thread> threads;
  std::atomic<int> ok = 0;
  for (int i = 0; i < 4; ++i) {
    v1::Application application;
    application.mutable_spec()->set_installer("python");
    application.mutable_spec()->set_url("wait:" + gate);
    threads.emplace_back([&, application] {
      const auto use = packages_->Acquire(application, "s", [] { return true; });
      if (use.ok()) ++ok;
      while (ok < 4) std::this_thread::yield();
    });
  }
  while (Runs() == 0) std::this_thread::yield();
  EXPECT_EQ(ok, 0);
  std::ofstream(gate) << "x";
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ok, 4);
  EXPECT_EQ(Runs(), 1);
}

TEST_F(PackagesTest, FailureSaysWhyAndIsTriedAnew) {
  Open();
  for (int i = 1; i <= 2; ++i) {
    const auto use = Acquire("fail:example", "s");
    ASSERT_FALSE(use.ok());
    EXPECT_THAT(use.status().message(), HasSubstr("it exited with code 1"));
    EXPECT_THAT(use.status().message(), HasSubstr("cannot reach example"));
    EXPECT_EQ(Runs(), i);
  }
  EXPECT_FALSE(fs::exists(options_.directory));
}

TEST_F(PackagesTest, InstallerThatTakesTooLongOrTalksWithoutEndIsEnded) {
  options_.timeout = std::chrono::milliseconds(300);
  options_.log_limit = 4096;
  Open();
  const auto use = Acquire("talk:", "s");
  ASSERT_FALSE(use.ok());
  EXPECT_THAT(use.status().message(), HasSubstr("took longer than"));
  EXPECT_THAT(use.status().message(), HasSubstr("very much to say"));
  EXPECT_FALSE(fs::exists(options_.directory));
}

TEST_F(PackagesTest, WhoIsNotNeededAnyMoreLeavesTheInstallationToOthers) {
  Open();
  const std::string gate = folder_ / "gate";
  std::atomic<bool> needed = true;
  v1::Application application;
  application.mutable_spec()->set_installer("python");
  application.mutable_spec()->set_url("wait:" + gate);
  std::thread first([&] {
    const auto use = packages_->Acquire(application, "s", [&] { return needed.load(); });
    EXPECT_TRUE(use.status().IsCancelled()) << use.status();
  });
  while (Runs() == 0) std::this_thread::yield();
  std::thread second([&] {
    EXPECT_OK(packages_->Acquire(application, "t", [] { return true; }).status());
  });
  needed = false;
  first.join();
  std::ofstream(gate) << "x";
  second.join();
}

}  // namespace
}  // namespace flame
