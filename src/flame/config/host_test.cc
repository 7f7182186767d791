#include "flame/config/host.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flame {
namespace {

TEST(HostTest, LoopbackIsAmongTheInterfaces) {
  const auto interfaces = Host::System()->Interfaces().ValueOrDie();
  bool found = false;
  int last = 0;
  for (const NetworkInterface& entry : interfaces) {
    EXPECT_GT(entry.index, last) << "by rising index";
    last = entry.index;
    for (const IpAddress& address : entry.addresses) found |= address.is_loopback();
  }
  EXPECT_TRUE(found);
}

TEST(HostTest, NamesAreResolved) {
  const auto addresses = Host::System()->Resolve("localhost").ValueOrDie();
  ASSERT_FALSE(addresses.empty());
  EXPECT_TRUE(addresses.front().is_loopback());
}

TEST(HostTest, EmptyVariableIsNotSet) {
  setenv("FLAME_HOST_TEST", "", 1);
  EXPECT_EQ(Host::System()->Env("FLAME_HOST_TEST"), std::nullopt);
  setenv("FLAME_HOST_TEST", "x", 1);
  EXPECT_EQ(Host::System()->Env("FLAME_HOST_TEST"), "x");
  unsetenv("FLAME_HOST_TEST");
}

TEST(HostTest, FileIsTextOrAbsentOrAnError) {
  const Host* host = Host::System();
  EXPECT_EQ(host->ReadFile("/no/such/file").ValueOrDie(), std::nullopt);
  EXPECT_FALSE(host->ReadFile("/proc").ok());
  EXPECT_THAT(host->ReadFile("/proc/self/status").ValueOrDie().value(),
              ::testing::HasSubstr("Name:"));
}

TEST(HostTest, FolderCanBeWrittenWhenItOrItsParentCan) {
  char folder[] = "/tmp/flame-host-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = folder;
  EXPECT_TRUE(Host::System()->CanWriteFolder(path));
  EXPECT_TRUE(Host::System()->CanWriteFolder(path + "/new"));
  EXPECT_FALSE(Host::System()->CanWriteFolder(path + "/no/new"));
  rmdir(folder);
}

TEST(HostTest, MachineHasMemoryAndAFolderWorkedIn) {
  EXPECT_GT(Host::System()->MemoryBytes(), 1 << 20);
  EXPECT_EQ(Host::System()->WorkingDirectory().front(), '/');
}

}  // namespace
}  // namespace flame
