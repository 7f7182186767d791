#include "flame/session/work_folder.h"

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

using ::testing::HasSubstr;

TEST(WorkFolderTest, IsPrivateAndGoesWhenItIsEmpty) {
  const TempDirectory folder;
  const std::string path = folder / "flame-1/sm";
  {
    ASSERT_OK_AND_ASSIGN(const auto claimed, WorkFolder::Claim(path));
    struct stat info {};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700U);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(WorkFolderTest, KeepsWhatIsNotItsOwn) {
  const TempDirectory folder;
  {
    ASSERT_OK_AND_ASSIGN(const auto claimed, WorkFolder::Claim(folder.path()));
    std::ofstream(folder / "file") << "x";
  }
  EXPECT_TRUE(std::filesystem::exists(folder / "file"));
  EXPECT_FALSE(std::filesystem::exists(folder / ".lock"));
}

TEST(WorkFolderTest, BelongsToOne) {
  const TempDirectory folder;
  ASSERT_OK_AND_ASSIGN(auto first, WorkFolder::Claim(folder / "sm"));
  EXPECT_THAT(WorkFolder::Claim(folder / "sm").status().message(),
              HasSubstr("another session manager uses"));
  first.reset();
  EXPECT_OK(WorkFolder::Claim(folder / "sm"));
}

TEST(WorkFolderTest, LinkIsNotFollowed) {
  const TempDirectory folder;
  std::filesystem::create_directory(folder / "elsewhere");
  std::filesystem::create_symlink(folder / "elsewhere", folder / "sm");
  EXPECT_THAT(WorkFolder::Claim(folder / "sm").status().message(),
              HasSubstr("is not a folder of this user"));
}

}  // namespace
}  // namespace flame
