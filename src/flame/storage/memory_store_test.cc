// What MemoryStore promises beyond the contract: its runtime file.
#include "flame/storage/memory_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include <arrow/testing/gtest_util.h>

#include "flame/base/error.h"
#include "flame/storage/store_testing.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

TEST(MemoryStore, A3_VersionsGoOnAfterARestartWhereTheRuntimeFileSurvives) {
  TempDirectory dir;
  const uint16_t slot = KeyFor("a/s/o").slot();
  {
    ASSERT_OK_AND_ASSIGN(auto store,
                         MemoryStore::Open({.runtime_file = dir / "runtime"}));
    Writer writer(store.get());
    for (int i = 0; i < 5; ++i) ASSERT_OK(writer.Put("a/s/o", Bytes("x")));
    EXPECT_EQ(store->Slot(slot).floor, 0);  // Of committed state: nothing was folded.
  }
  ASSERT_OK_AND_ASSIGN(auto store, MemoryStore::Open({.runtime_file = dir / "runtime"}));
  EXPECT_EQ(store->Slot(slot).floor, 5);
  EXPECT_EQ(store->Slot(static_cast<uint16_t>(slot ^ 1)).floor, 0);
  Writer writer(store.get());
  EXPECT_EQ(writer.Get("a/s/o"), "(absent)");
  ASSERT_OK_AND_ASSIGN(const Row row, writer.Put("a/s/o", Bytes("x")));
  EXPECT_EQ(row.version, 6);
}

TEST(MemoryStore, ARaisedFloorIsKeptToo) {
  TempDirectory dir;
  {
    ASSERT_OK_AND_ASSIGN(auto store,
                         MemoryStore::Open({.runtime_file = dir / "runtime"}));
    CommitBatch batch;
    batch.slots.emplace_back(uint16_t{9}, SlotState{.floor = 77});
    ASSERT_OK(store->Commit(std::move(batch), Durability::kProcess));
  }
  ASSERT_OK_AND_ASSIGN(auto store, MemoryStore::Open({.runtime_file = dir / "runtime"}));
  EXPECT_EQ(store->Slot(9).floor, 77);
}

TEST(MemoryStore, EachStartIsAStoreOfItsOwn) {
  TempDirectory dir;
  std::string id;
  {
    ASSERT_OK_AND_ASSIGN(auto store,
                         MemoryStore::Open({.runtime_file = dir / "runtime"}));
    id = store->id();
    EXPECT_EQ(id.size(), 36u);
  }
  ASSERT_OK_AND_ASSIGN(auto store, MemoryStore::Open({.runtime_file = dir / "runtime"}));
  EXPECT_NE(store->id(), id);
}

TEST(MemoryStore, ADamagedRuntimeFileIsRefused) {
  TempDirectory dir;
  const std::string path = dir / "runtime";
  ASSERT_OK(MemoryStore::Open({.runtime_file = path}).status());
  const auto set = [&](std::streamoff at, int64_t value) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.write(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  constexpr std::streamoff kSlot5 = 64 + 8 * 5;
  // A version after which there is no next one, and one that was never given out.
  for (const int64_t highest : {std::numeric_limits<int64_t>::max(), int64_t{-1}}) {
    set(kSlot5, highest);
    const auto status = MemoryStore::Open({.runtime_file = path}).status();
    EXPECT_TRUE(IsError(status, ErrorCode::kCorrupt)) << status;
    EXPECT_NE(status.message().find("slot 5"), std::string::npos) << status;
  }
  set(kSlot5, 7);
  EXPECT_OK(MemoryStore::Open({.runtime_file = path}).status());
  set(0, 0);
  EXPECT_TRUE(
      IsError(MemoryStore::Open({.runtime_file = path}).status(), ErrorCode::kCorrupt));
}

TEST(MemoryStore, ASecondServerOnTheSameRuntimeFileIsRefused) {
  TempDirectory dir;
  ASSERT_OK_AND_ASSIGN(auto store, MemoryStore::Open({.runtime_file = dir / "runtime"}));
  const auto second = MemoryStore::Open({.runtime_file = dir / "runtime"});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find("another server uses it"), std::string::npos);
  store.reset();
  ASSERT_OK(MemoryStore::Open({.runtime_file = dir / "runtime"}));
}

TEST(MemoryStore, AFileOfAnotherProgramIsRefusedAndNotTouched) {
  TempDirectory dir;
  std::ofstream(dir / "short") << "precious";
  std::ofstream(dir / "long") << std::string(64 + 8 * kSlots, 'p');
  for (const char* name : {"short", "long"}) {
    const auto size = std::filesystem::file_size(dir / name);
    EXPECT_TRUE(IsError(MemoryStore::Open({.runtime_file = dir / name}).status(),
                        ErrorCode::kCorrupt));
    EXPECT_EQ(std::filesystem::file_size(dir / name), size);
    char first = 0;
    std::ifstream(dir / name).get(first);
    EXPECT_EQ(first, 'p');
  }
}

TEST(MemoryStore, ARuntimeFileThatCannotBeMadeIsOneClearLine) {
  TempDirectory dir;
  const auto store = MemoryStore::Open({.runtime_file = dir / "no/such/file"});
  ASSERT_FALSE(store.ok());
  EXPECT_NE(store.status().message().find(dir / "no/such/file"), std::string::npos);
}

TEST(MemoryStore, WithoutARuntimeFileNothingIsWritten) {
  ASSERT_OK_AND_ASSIGN(auto store, MemoryStore::Open({}));
  Writer writer(store.get());
  ASSERT_OK(writer.Put("a/s/o", Bytes("x")));
  EXPECT_EQ(writer.Get("a/s/o"), "x");
}

TEST(MemoryStore, ASmallObjectIsHeldInTheFormThatReadersAreServedFrom) {
  ASSERT_OK_AND_ASSIGN(auto store, MemoryStore::Open({}));
  Writer writer(store.get());
  ASSERT_OK_AND_ASSIGN(Row row, writer.Put("a/s/o", Bytes("bytes")));
  const auto held = store->Held(KeyFor("a/s/o"), row.seq);
  ASSERT_NE(held, nullptr);
  EXPECT_EQ(held->key(), "a/s/o");
  EXPECT_EQ(held->version(), row.version);
  EXPECT_EQ(store->Held(KeyFor("a/s/o"), row.seq + 1), nullptr);  // Another commit's.
  EXPECT_EQ(store->Held(KeyFor("a/s/p"), row.seq), nullptr);
  // Its bytes are those that the store itself reads.
  ASSERT_OK_AND_ASSIGN(auto read, store->Read(KeyFor("a/s/o"), row));
  EXPECT_EQ(read.base->chunks()[0]->data(), held->snapshot()->base->chunks()[0]->data());
  // With a patch it is another form, over the same bytes.
  ASSERT_OK_AND_ASSIGN(row, writer.Patch("a/s/o", Bytes("more")));
  EXPECT_EQ(store->Held(KeyFor("a/s/o"), row.seq), nullptr);
  EXPECT_EQ(writer.Get("a/s/o"), "bytes|more");
}

}  // namespace
}  // namespace flame
