#include "flame/storage/file_system.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include <arrow/testing/gtest_util.h>

#include "flame/base/error.h"
#include "flame/storage/faulty_file_system.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

/// Every promise holds with openat2 and with the walk that replaces it.
class FileSystemTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(files_,
                         OpenFileSystem(dir_ / "root", {.use_openat2 = GetParam()}));
  }
  void Write(const std::string& path, const std::vector<std::string_view>& pieces) {
    ASSERT_OK_AND_ASSIGN(auto file, files_->Create(path));
    ASSERT_OK(file->Write(pieces));
    ASSERT_OK(file->Close());
    ASSERT_OK(files_->Sync(path));
  }
  std::string Read(const std::string& path) {
    auto bytes = files_->ReadAll(path);
    if (!bytes.ok()) return bytes.status().ToString();
    return *bytes == nullptr ? "(none)" : (*bytes)->ToString();
  }

  TempDirectory dir_;
  std::unique_ptr<FileSystem> files_;
};
INSTANTIATE_TEST_SUITE_P(, FileSystemTest, ::testing::Bool(), [](const auto& info) {
  return info.param ? "openat2" : "walk";
});

TEST_P(FileSystemTest, PiecesAreGathered) {
  ASSERT_OK(files_->MakeDirectories("a/b"));
  Write("a/b/file", {"one ", "", "two ", "three"});
  EXPECT_EQ(Read("a/b/file"), "one two three");
}

TEST_P(FileSystemTest, ManyPiecesAreGathered) {
  std::vector<std::string_view> pieces(5000, "xy");
  Write("file", pieces);
  EXPECT_EQ(Read("file").size(), 10'000u);
}

TEST_P(FileSystemTest, WhatIsReadIsAligned) {
  Write("file", {std::string(1000, 'x')});
  ASSERT_OK_AND_ASSIGN(auto bytes, files_->ReadAll("file"));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes->data()) % 64, 0u);
}

TEST_P(FileSystemTest, WhatIsMissingIsAValue) {
  EXPECT_EQ(Read("no"), "(none)");
  EXPECT_EQ(Read("no/such"), "(none)");
  ASSERT_OK_AND_EQ(false, files_->Unlink("no/such"));
  ASSERT_OK_AND_EQ(false, files_->RemoveDirectory("no"));
  ASSERT_OK_AND_EQ(false, files_->Rename("no", "other"));
  ASSERT_OK_AND_EQ(false,
                   files_->List("no", [](auto&, auto) { return arrow::Status::OK(); }));
  ASSERT_OK_AND_ASSIGN(auto info, files_->Stat("no/such"));
  EXPECT_FALSE(info.has_value());
  ASSERT_OK(files_->Sync("no"));
  Write("file", {"x"});
  ASSERT_OK_AND_EQ(false, files_->Rename("file", "no/such"));
  EXPECT_EQ(Read("file/below"), "(none)");
}

TEST_P(FileSystemTest, RenameReplaces) {
  Write("a", {"new"});
  Write("b", {"old"});
  ASSERT_OK_AND_EQ(true, files_->Rename("a", "b"));
  EXPECT_EQ(Read("a"), "(none)");
  EXPECT_EQ(Read("b"), "new");
}

TEST_P(FileSystemTest, ARenameThatWasInterruptedIsFinished) {
  const std::filesystem::path from = dir_ / "root/a", to = dir_ / "root/b";
  const std::filesystem::path old = from.string() + kReplacedSuffix;
  // Behind each of its steps, and with what an earlier one left behind.
  for (const int steps : {0, 1, 2, 3, 4}) {
    Write("b", {"replaced"});
    Write("a", {"new"});
    if (steps == 4) Write(std::string("a") + kReplacedSuffix, {"of another time"});
    if (steps >= 1 && steps < 4) std::filesystem::create_hard_link(to, old);
    if (steps == 2 || steps == 3) {
      ASSERT_EQ(renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE),
                0);
    }
    if (steps == 3) std::filesystem::remove(from);
    ASSERT_OK_AND_ASSIGN(const bool found, files_->Rename("a", "b"));
    EXPECT_EQ(found, steps != 3) << steps;
    EXPECT_EQ(Read("b"), "new") << steps;
    EXPECT_EQ(Read("a"), "(none)") << steps;
    EXPECT_FALSE(std::filesystem::exists(old)) << steps;
    ASSERT_OK(files_->Unlink("b").status());
  }
}

TEST_P(FileSystemTest, CreateNeverOverwrites) {
  Write("a", {"old"});
  EXPECT_RAISES_WITH_MESSAGE_THAT(IOError, ::testing::HasSubstr("create a"),
                                  files_->Create("a"));
  EXPECT_EQ(Read("a"), "old");
}

TEST_P(FileSystemTest, OverwriteKeepsTheInode) {
  ASSERT_OK(files_->Overwrite("a", "first contents"));
  ASSERT_OK_AND_ASSIGN(const auto before, files_->Stat("a"));
  ASSERT_OK(files_->Overwrite("a", "second"));
  ASSERT_OK_AND_ASSIGN(const auto after, files_->Stat("a"));
  EXPECT_EQ(Read("a"), "second");
  EXPECT_EQ(before->inode, after->inode);
  EXPECT_EQ(before->born_ns, after->born_ns);
}

TEST_P(FileSystemTest, DirectoriesAreListedAndRemoved) {
  ASSERT_OK(files_->MakeDirectories("a/b/c"));
  ASSERT_OK(files_->MakeDirectories("a/b/c"));
  Write("a/file", {"x"});
  std::set<std::pair<std::string, FileType>> names;
  const auto collect = [&](const std::string& name, FileType type) {
    names.emplace(name, type);
    return arrow::Status::OK();
  };
  ASSERT_OK_AND_EQ(true, files_->List("a", collect));
  EXPECT_EQ(names, (std::set<std::pair<std::string, FileType>>{
                       {"b", FileType::kDirectory}, {"file", FileType::kFile}}));
  ASSERT_OK_AND_EQ(false, files_->RemoveDirectory("a/b"));
  ASSERT_OK_AND_EQ(true, files_->RemoveDirectory("a/b/c"));
  ASSERT_OK_AND_EQ(true, files_->RemoveDirectory("a/b"));
}

TEST_P(FileSystemTest, AFileInTheWayOfADirectoryIsAnError) {
  Write("a", {"x"});
  EXPECT_FALSE(files_->MakeDirectories("a").ok());
  EXPECT_FALSE(files_->MakeDirectories("a/b").ok());
}

TEST_P(FileSystemTest, A2_NoPathLeadsOutOfTheRoot) {
  std::ofstream(dir_ / "secret") << "secret";
  for (const char* path :
       {"../secret", "a/../../secret", "./file", "/etc/passwd", "a//b", "a/"}) {
    EXPECT_FALSE(files_->ReadAll(path).ok()) << path;
    EXPECT_FALSE(files_->Create(path).ok()) << path;
    EXPECT_FALSE(files_->Unlink(path).ok()) << path;
    EXPECT_FALSE(files_->MakeDirectories(path).ok()) << path;
  }
  EXPECT_FALSE(files_->ReadAll(std::string("fi\0le", 5)).ok());
  EXPECT_TRUE(std::filesystem::exists(dir_ / "secret"));
}

TEST_P(FileSystemTest, SymbolicLinksDoNotLeadOutOfTheRoot) {
  std::filesystem::create_directory(dir_ / "outside");
  std::ofstream(dir_ / "outside/secret") << "secret";
  std::filesystem::create_symlink(dir_ / "outside", dir_ / "root/link");
  std::filesystem::create_symlink("../outside/secret", dir_ / "root/file");
  EXPECT_EQ(Read("file").find("secret"), std::string::npos);
  EXPECT_EQ(Read("link/secret").find("secret\n"), std::string::npos);
  EXPECT_FALSE(files_->Create("link/new").ok());
  const auto removed = files_->Unlink("link/secret");
  EXPECT_FALSE(removed.ok() && *removed);
  EXPECT_TRUE(std::filesystem::exists(dir_ / "outside/secret"));
  ASSERT_OK_AND_ASSIGN(const auto info, files_->Stat("link"));
  EXPECT_EQ(info->type, FileType::kOther);
}

TEST_P(FileSystemTest, AFifoDoesNotBlockTheReader) {
  ASSERT_EQ(mkfifo((dir_ / "root/fifo").c_str(), 0600), 0);
  EXPECT_FALSE(files_->ReadAll("fifo").ok());
}

TEST_P(FileSystemTest, OnlyOneHolderHasALock) {
  ASSERT_OK_AND_ASSIGN(auto other, OpenFileSystem(dir_ / "root"));
  ASSERT_OK_AND_ASSIGN(auto first, files_->TryLock("lock"));
  EXPECT_NE(first, nullptr);
  ASSERT_OK_AND_ASSIGN(auto second, other->TryLock("lock"));
  EXPECT_EQ(second, nullptr);
  first.reset();
  ASSERT_OK_AND_ASSIGN(second, other->TryLock("lock"));
  EXPECT_NE(second, nullptr);
}

TEST(FileSystem, ARootThatCannotBeUsedIsOneClearLine) {
  TempDirectory dir;
  std::ofstream(dir / "file") << "x";
  for (const std::string& root : {dir / "file", dir / "file/below"}) {
    const auto files = OpenFileSystem(root);
    ASSERT_FALSE(files.ok());
    EXPECT_NE(files.status().message().find(root), std::string::npos) << files.status();
  }
}

TEST(FileSystem, AFaultyOneFailsWhenTold) {
  TempDirectory dir;
  ASSERT_OK_AND_ASSIGN(auto real, OpenFileSystem(dir.path()));
  auto plan = std::make_shared<FaultPlan>();
  FaultyFileSystem files(std::move(real), plan);
  plan->FailAt(1, ENOSPC, /*for_ever=*/false);
  ASSERT_OK_AND_ASSIGN(auto file, files.Create("a"));
  EXPECT_TRUE(IsError(file->Write({"12345678"}), ErrorCode::kExhausted));
  ASSERT_OK(file->Close());
  ASSERT_OK_AND_ASSIGN(auto bytes, files.ReadAll("a"));
  EXPECT_EQ(bytes->ToString(), "1234");
}

}  // namespace
}  // namespace flame
