#include "flame/session/instance_logs.h"

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
namespace fs = std::filesystem;

class InstanceLogsTest : public ::testing::Test {
 protected:
  InstanceLogsTest() { options_.directory = folder_ / "kept"; }
  void Open() { logs_ = std::make_unique<InstanceLogs>(options_); }
  void Start(const std::string& id, const std::string& session, const std::string& text) {
    std::ofstream(Live(id)) << text;
    logs_->Started(id, session, "app", folder_ / (id + ".out"), Live(id), 7);
  }
  void End(const std::string& id) {
    logs_->Ended(id, 9);
    fs::remove(Live(id));
  }
  std::string Live(const std::string& id) { return folder_ / (id + ".err"); }
  std::string Read(const std::string& id) {
    const auto fd = logs_->Open(id, /*is_error=*/true);
    if (!fd.ok()) return fd.status().message();
    std::string text(100, '\0');
    text.resize(static_cast<size_t>(std::max<ssize_t>(0, read(*fd, text.data(), 100))));
    close(*fd);
    return text;
  }
  std::vector<std::string> Known() {
    std::vector<std::string> ids;
    for (const InstanceLog& log : logs_->List("", "", "")) {
      if (log.is_error) ids.push_back(log.instance);
    }
    return ids;
  }

  TempDirectory folder_;
  InstanceLogOptions options_;
  std::unique_ptr<InstanceLogs> logs_;
};

TEST_F(InstanceLogsTest, OutputIsReadWhileItRunsAndAfterwards) {
  Open();
  Start("a", "s", "hello");
  EXPECT_EQ(Read("a"), "hello");
  const auto running = logs_->List("s", "", "")[1];
  EXPECT_EQ(running.size, 5);
  EXPECT_FALSE(running.end_ms);
  End("a");
  EXPECT_EQ(Read("a"), "hello");
  const auto ended = logs_->List("", "a", "app")[1];
  EXPECT_EQ(ended.size, 5);
  EXPECT_EQ(ended.end_ms, 9);
  EXPECT_FALSE(ended.cut);
  EXPECT_THAT(logs_->List("", "", "other"), IsEmpty());
}

TEST_F(InstanceLogsTest, OnlyTheLastOnesOfASessionAreKept) {
  options_.keep = 2;
  Open();
  for (const char* id : {"a", "b", "c"}) Start(id, "s", id);
  Start("x", "t", "x");
  for (const char* id : {"a", "b", "c", "x"}) End(id);
  EXPECT_THAT(Known(), ElementsAre("b", "c", "x"));
  EXPECT_EQ(Read("a"), "nothing is known of the instance a");
}

TEST_F(InstanceLogsTest, KeptBytesAreBounded) {
  options_.keep_bytes = 100;
  Open();
  Start("a", "s", std::string(40, 'a'));
  Start("b", "s", std::string(40, 'b'));
  Start("c", "s", std::string(60, 'c') + std::string(30, 'd'));
  for (const char* id : {"a", "b", "c"}) End(id);
  EXPECT_THAT(Known(), ElementsAre("b", "c"));
  // The end of a file that is too large.
  EXPECT_EQ(Read("c"), std::string(20, 'c') + std::string(30, 'd'));
  EXPECT_TRUE(logs_->List("", "c", "")[1].cut);
}

TEST_F(InstanceLogsTest, NothingIsKeptIfNotWanted) {
  options_.keep = 0;
  Open();
  Start("a", "s", "hello");
  EXPECT_EQ(Read("a"), "hello");
  End("a");
  EXPECT_THAT(Known(), IsEmpty());
  EXPECT_FALSE(fs::exists(options_.directory));
}

TEST_F(InstanceLogsTest, NothingIsLeftBehind) {
  Open();
  Start("a", "s", "hello");
  End("a");
  EXPECT_TRUE(fs::exists(options_.directory));
  logs_.reset();
  EXPECT_FALSE(fs::exists(options_.directory));
}

}  // namespace
}  // namespace flame
