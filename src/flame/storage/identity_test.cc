#include "flame/storage/identity.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <arrow/testing/gtest_util.h>

#include "flame/base/error.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/store_testing.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

Identity AnIdentity() {
  Identity identity;
  identity.store_id = "0c0ffee0-0000-4000-8000-000000000000";
  identity.session = 7;
  identity.generation = 2;
  identity.boot_id = "boot-a";
  identity.clean_head = 99;
  return identity;
}

TEST(Identity, TheFileIsTextThatPeopleCanRead) {
  EXPECT_EQ(
      EncodeIdentity(AnIdentity()),
      "flame-store 1\nfeatures 0\nid 0c0ffee0-0000-4000-8000-000000000000\nsession 7\n"
      "generation 2\nboot boot-a\nsync never\nclean 99\nxxh3 a677255bfd3a894f\n");
}

TEST(Identity, WhatIsEncodedIsDecoded) {
  for (const bool clean : {false, true}) {
    Identity identity = AnIdentity();
    if (!clean) identity.clean_head.reset();
    identity.sync_always = clean;
    ASSERT_OK_AND_ASSIGN(const auto back, DecodeIdentity(EncodeIdentity(identity)));
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(back->store_id, identity.store_id);
    EXPECT_EQ(back->session, identity.session);
    EXPECT_EQ(back->generation, identity.generation);
    EXPECT_EQ(back->boot_id, identity.boot_id);
    EXPECT_EQ(back->sync_always, identity.sync_always);
    EXPECT_EQ(back->clean_head, identity.clean_head);
  }
  Anchor anchor{"id", 1, 2, {3, 4, 5, 6}};
  ASSERT_OK_AND_ASSIGN(const auto back, DecodeAnchor(EncodeAnchor(anchor)));
  EXPECT_EQ(EncodeAnchor(back), EncodeAnchor(anchor));
}

TEST(Identity, ATornFileIsNoIdentity) {
  const std::string text = EncodeIdentity(AnIdentity());
  for (size_t size = 0; size < text.size(); ++size) {
    ASSERT_OK_AND_ASSIGN(const auto identity, DecodeIdentity(text.substr(0, size)));
    EXPECT_FALSE(identity.has_value()) << size;
  }
  for (size_t at = 25; at < text.size(); ++at) {
    std::string damaged = text;
    damaged[at] ^= 1;
    const auto identity = DecodeIdentity(damaged);
    EXPECT_FALSE(identity.ok() && identity->has_value()) << at;
  }
}

TEST(Identity, ANewerFormatIsRefused) {
  for (const char* text :
       {"flame-store 2\nfeatures 0\n", "flame-store 1\nfeatures 2\nwhatever"}) {
    const auto identity = DecodeIdentity(text);
    ASSERT_TRUE(IsError(identity.status(), ErrorCode::kCorrupt)) << text;
    EXPECT_NE(identity.status().message().find("newer version"), std::string::npos);
  }
}

TEST(Identity, ContinuityIsDoubtedForEachReason) {
  const FileMark mark{1, 2, 3, 4};
  const Anchor anchor{AnIdentity().store_id, 7, 2, mark};
  Identity clean = AnIdentity();
  Identity killed = clean;
  killed.clean_head.reset();
  const auto why = [&](const std::optional<Identity>& identity, const Anchor& remembered,
                       const FileMark& found, const char* boot, uint64_t head) {
    return std::string(WhyNotContinuous(identity, remembered, found, boot, head));
  };

  EXPECT_EQ(why(clean, anchor, mark, "boot-a", 99), "");
  EXPECT_EQ(why(clean, anchor, mark, "boot-b", 99), "");
  EXPECT_EQ(why(killed, anchor, mark, "boot-a", 50), "");
  EXPECT_EQ(why(killed, anchor, mark, "boot-b", 50),
            "the machine stopped without writing everything to the disk");
  EXPECT_NE(why(killed, anchor, mark, "", 50), "");
  killed.sync_always = true;
  EXPECT_EQ(why(killed, anchor, mark, "boot-b", 50), "");

  EXPECT_NE(why(std::nullopt, anchor, mark, "boot-a", 99), "");
  EXPECT_NE(why(clean, anchor, mark, "boot-a", 98), "");
  Anchor other = anchor;
  other.store_id = "other";
  EXPECT_NE(why(clean, other, mark, "boot-a", 99), "");
  other = anchor;
  other.session = 6;
  EXPECT_NE(why(clean, other, mark, "boot-a", 99), "");
  other.session = 8;  // A start that was killed before it wrote the identity.
  EXPECT_EQ(why(clean, other, mark, "boot-a", 99), "");
  other.session = 9;
  EXPECT_NE(why(clean, other, mark, "boot-a", 99), "");
  for (const FileMark& copy : {FileMark{1, 9, 3, 4}, FileMark{1, 2, 9, 4},
                               FileMark{1, 2, 3, 9}, FileMark{9, 2, 3, 4}}) {
    EXPECT_EQ(why(clean, anchor, copy, "boot-a", 99), "it is a copy, or was restored");
  }
  // Device numbers may change when the machine is booted.
  EXPECT_EQ(why(clean, anchor, FileMark{9, 2, 3, 4}, "boot-b", 99), "");
}

class ContinuityTest : public ::testing::Test {
 protected:
  std::unique_ptr<FsStore> Open(const std::string& boot, bool sync_always = false,
                                const std::string& name = "store") {
    auto store = FsStore::Open({.root = dir_ / name,
                                .sync_always = sync_always,
                                .write_buffer_bytes = 1 << 20,
                                .boot_id = boot});
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }
  static uint64_t Generation(const Store& store) { return store.Slot(1).generation; }

  TempDirectory dir_;
};

TEST_F(ContinuityTest, ACleanRestartGoesOn) {
  auto store = Open("boot-a");
  const std::string id = store->id();
  ASSERT_OK(store->Close());
  store.reset();
  store = Open("boot-b");
  EXPECT_EQ(Generation(*store), 0u);
  EXPECT_EQ(store->id(), id);
}

TEST_F(ContinuityTest, AKillWithinOneBootGoesOn) {
  Open("boot-a").reset();
  EXPECT_EQ(Generation(*Open("boot-a")), 0u);
}

TEST_F(ContinuityTest, AStopOfTheMachineRaisesTheGeneration) {
  Open("boot-a").reset();
  Open("boot-b").reset();
  EXPECT_EQ(Generation(*Open("boot-b")), 1u);
  EXPECT_EQ(Generation(*Open("boot-c")), 2u);
}

TEST_F(ContinuityTest, AStopOfTheMachineIsHarmlessIfEveryWriteWasSynced) {
  Open("boot-a", /*sync_always=*/true).reset();
  // What counts is how it was run, not how it is run now.
  EXPECT_EQ(Generation(*Open("boot-b", /*sync_always=*/false)), 0u);
  EXPECT_EQ(Generation(*Open("boot-c", /*sync_always=*/true)), 1u);
}

TEST_F(ContinuityTest, ACopyOfTheDirectoryRaisesTheGeneration) {
  auto store = Open("boot-a");
  ASSERT_OK(Writer(store.get()).Put("a/s/o", Bytes("x")));
  ASSERT_OK(store->Close());
  store.reset();
  ASSERT_EQ(std::system(("cp -a " + (dir_ / "store") + " " + (dir_ / "copy")).c_str()),
            0);
  store = Open("boot-a", false, "copy");
  EXPECT_EQ(Generation(*store), 1u);
  EXPECT_EQ(Writer(store.get()).Get("a/s/o"), "x");
  // The original has not noticed.
  EXPECT_EQ(Generation(*Open("boot-a")), 0u);
}

TEST_F(ContinuityTest, AMovedDirectoryGoesOn) {
  auto store = Open("boot-a");
  ASSERT_OK(store->Close());
  store.reset();
  std::filesystem::rename(dir_ / "store", dir_ / "moved");
  EXPECT_EQ(Generation(*Open("boot-a", false, "moved")), 0u);
}

TEST_F(ContinuityTest, ARestoredDatabaseRaisesTheGeneration) {
  auto store = Open("boot-a");
  ASSERT_OK(store->Close());
  store.reset();
  const std::string database = dir_ / "store/.flame/db";
  ASSERT_EQ(std::system(("cp -a " + database + " " + (dir_ / "backup")).c_str()), 0);
  store = Open("boot-a");
  ASSERT_OK(Writer(store.get()).Put("a/s/o", Bytes("x")));
  ASSERT_OK(store->Close());
  store.reset();
  std::filesystem::remove_all(database);
  ASSERT_EQ(std::system(("cp -a " + (dir_ / "backup") + " " + database).c_str()), 0);
  EXPECT_EQ(Generation(*Open("boot-a")), 1u);
}

TEST_F(ContinuityTest, ALostDatabaseRaisesTheGenerationAndIsANewStore) {
  auto store = Open("boot-a");
  const std::string id = store->id();
  ASSERT_OK(store->Close());
  store.reset();
  std::filesystem::remove_all(dir_ / "store/.flame/db");
  store = Open("boot-a");
  EXPECT_EQ(Generation(*store), 1u);
  EXPECT_NE(store->id(), id);
}

TEST_F(ContinuityTest, ALostIdentityRaisesTheGenerationOnce) {
  auto store = Open("boot-a");
  const std::string id = store->id();
  ASSERT_OK(store->Close());
  store.reset();
  std::filesystem::remove(dir_ / "store/.flame/identity");
  store = Open("boot-a");
  EXPECT_EQ(Generation(*store), 1u);
  EXPECT_EQ(store->id(), id);
  ASSERT_OK(store->Close());
  store.reset();
  EXPECT_EQ(Generation(*Open("boot-a")), 1u);
}

TEST_F(ContinuityTest, ADirectoryOfANewerProgramIsRefusedUntouched) {
  ASSERT_OK(Open("boot-a")->Close());
  const std::string path = dir_ / "store/.flame/identity";
  std::ofstream(path) << "flame-store 2\nfeatures 0\nsomething new\n";
  const auto store = FsStore::Open({.root = dir_ / "store"});
  ASSERT_FALSE(store.ok());
  EXPECT_NE(store.status().message().find("newer version"), std::string::npos);
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  EXPECT_EQ(line, "flame-store 2");
}

}  // namespace
}  // namespace flame
