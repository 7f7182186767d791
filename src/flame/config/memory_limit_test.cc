#include "flame/config/memory_limit.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include <gtest/gtest.h>

namespace flame {
namespace {

class MemoryLimitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/flame-memory-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    root_ = folder;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(
        std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text << "\n";
  }

  std::string root_;
};

TEST_F(MemoryLimitTest, NoGroupIsNoLimit) {
  EXPECT_EQ(ControlGroupMemoryLimit(root_), std::numeric_limits<int64_t>::max());
}

TEST_F(MemoryLimitTest, SmallestLimitUpToTheRootCounts) {
  Write("/proc/self/cgroup", "0::/system.slice/cache.service");
  Write("/sys/fs/cgroup/system.slice/cache.service/memory.max", "max");
  EXPECT_EQ(ControlGroupMemoryLimit(root_), std::numeric_limits<int64_t>::max());
  Write("/sys/fs/cgroup/system.slice/memory.max", "4096");
  EXPECT_EQ(ControlGroupMemoryLimit(root_), 4096);
  Write("/sys/fs/cgroup/system.slice/cache.service/memory.max", "1024");
  EXPECT_EQ(ControlGroupMemoryLimit(root_), 1024);
}

TEST_F(MemoryLimitTest, ContainerSeesItsOwnGroupAsTheRoot) {
  Write("/proc/self/cgroup", "0::/");
  Write("/sys/fs/cgroup/memory.max", "2048");
  EXPECT_EQ(ControlGroupMemoryLimit(root_), 2048);
}

TEST_F(MemoryLimitTest, VersionOneIsReadToo) {
  Write("/proc/self/cgroup", "5:cpu,memory:/docker/x\n3:pids:/docker/x");
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  Write("/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "512");
  EXPECT_EQ(ControlGroupMemoryLimit(root_), 512);
}

}  // namespace
}  // namespace flame
