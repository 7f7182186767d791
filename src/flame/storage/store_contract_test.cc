// The promises that every Store keeps, written once and run on each.
#include <gtest/gtest.h>

#include <random>

#include <arrow/testing/gtest_util.h>

#include "flame/base/error.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/memory_store.h"
#include "flame/storage/store_testing.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

struct Memory {
  static constexpr bool kKeepsObjects = false;
  static arrow::Result<std::unique_ptr<Store>> Open(const TempDirectory& dir) {
    return MemoryStore::Open({.runtime_file = dir / "runtime"});
  }
};

struct Packed {
  static constexpr bool kKeepsObjects = true;
  static arrow::Result<std::unique_ptr<Store>> Open(const TempDirectory& dir) {
    return FsStore::Open({.root = dir / "store", .write_buffer_bytes = 1 << 20});
  }
};

struct FilePerObject {
  static constexpr bool kKeepsObjects = true;
  static arrow::Result<std::unique_ptr<Store>> Open(const TempDirectory& dir) {
    return FsStore::Open(
        {.root = dir / "store", .pack_below = 0, .write_buffer_bytes = 1 << 20});
  }
};

struct Compressed {
  static constexpr bool kKeepsObjects = true;
  static arrow::Result<std::unique_ptr<Store>> Open(const TempDirectory& dir) {
    return FsStore::Open({.root = dir / "store",
                          .pack_below = 0,
                          .compression = {arrow::Compression::ZSTD, 0, 0.0},
                          .write_buffer_bytes = 1 << 20});
  }
};

template <typename Backend>
class StoreContractTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }
  void Open() {
    ASSERT_OK_AND_ASSIGN(store_, Backend::Open(dir_));
    writer_.emplace(store_.get());
  }
  void Reopen() {
    ASSERT_OK(store_->Close());
    store_.reset();
    Open();
  }
  void CrashAndReopen() {
    store_.reset();
    Open();
  }
  std::vector<std::string> Keys(const std::string& prefix, const std::string& after,
                                int64_t limit) {
    std::vector<std::string> keys;
    for (const auto& [key, row] : store_->Scan(prefix, after, limit).ValueOrDie()) {
      keys.push_back(key.text());
    }
    return keys;
  }

  TempDirectory dir_;
  std::unique_ptr<Store> store_;
  std::optional<Writer> writer_;
};
using Backends = ::testing::Types<Memory, Packed, FilePerObject, Compressed>;
TYPED_TEST_SUITE(StoreContractTest, Backends);

std::string Large(char c) { return std::string(300'000, c); }

TYPED_TEST(StoreContractTest, AMissIsAValueNotAnError) {
  ASSERT_OK_AND_ASSIGN(auto row, this->store_->Find(KeyFor("a/s/none")));
  EXPECT_FALSE(row.has_value());
}

TYPED_TEST(StoreContractTest, WhatIsPutIsRead) {
  for (const std::string& text : {std::string(), std::string("small"), Large('x')}) {
    ASSERT_OK(this->writer_->Put("a/s/o", Bytes(text)));
    EXPECT_EQ(this->writer_->Get("a/s/o"), text);
  }
}

TYPED_TEST(StoreContractTest, TheRowComesBackAsItWasCommitted) {
  ASSERT_OK_AND_ASSIGN(Mutation mutation, this->writer_->Next("a/s/o"));
  mutation.row.base_version = mutation.row.version;
  mutation.row.ops.entries = {{{7, 8}, 1}};
  mutation.row.meta_seq = 3;
  mutation.row.expires_at_ms = 99;
  ASSERT_OK_AND_ASSIGN(mutation.base,
                       this->store_->StageBase(mutation.key, Bytes("x"), 1));
  mutation.row.base = mutation.base->location();
  ASSERT_OK(this->writer_->Commit(std::move(mutation)));
  ASSERT_OK_AND_ASSIGN(auto row, this->store_->Find(KeyFor("a/s/o")));
  ASSERT_TRUE(row.has_value());
  EXPECT_EQ(row->version, 1);
  EXPECT_EQ(row->ops.entries[0].op, (OpId{7, 8}));
  EXPECT_EQ(row->meta_seq, 3u);
  EXPECT_EQ(row->expires_at_ms, 99);
  EXPECT_EQ(this->store_->Slot(KeyFor("a/s/o").slot()).last_seq, 1u);
}

TYPED_TEST(StoreContractTest, PayloadsOfManyChunksAreRead) {
  const auto chunked = Payload::Opaque({arrow::Buffer::FromString("abc"),
                                        arrow::Buffer::FromString(Large('x')),
                                        arrow::Buffer::FromString("")});
  ASSERT_OK(this->writer_->Put("a/s/o", chunked));
  EXPECT_EQ(this->writer_->Get("a/s/o"), "abc" + Large('x'));
}

TYPED_TEST(StoreContractTest, TablesAreReadAsTheyWere) {
  for (int64_t count : {0, 3, 100'000}) {
    ASSERT_OK_AND_ASSIGN(Row row, this->writer_->Put("a/s/t", Table(0, count)));
    ASSERT_OK(this->writer_->Patch("a/s/t", Table(count, 2)).status());
    ASSERT_OK(this->writer_->Patch("a/s/t", Table(count + 2, 50'000)).status());
    ASSERT_OK_AND_ASSIGN(auto newest, this->store_->Find(KeyFor("a/s/t")));
    ASSERT_OK_AND_ASSIGN(auto object, this->store_->Read(KeyFor("a/s/t"), *newest));
    ASSERT_OK_AND_ASSIGN(
        auto base, DecodeNative(object.base->schema(), object.base->frames(), true));
    ASSERT_EQ(base.size(), 1u);
    EXPECT_TRUE(base[0]->Equals(*Numbers(0, count)));
    const auto& patch = *object.last_patch->payload;
    ASSERT_OK_AND_ASSIGN(auto appended,
                         DecodeNative(patch.schema(), patch.frames(), true));
    EXPECT_TRUE(appended[0]->Equals(*Numbers(count + 2, 50'000)));
  }
}

TYPED_TEST(StoreContractTest, PatchesFollowTheirBaseUntilItIsReplaced) {
  ASSERT_OK(this->writer_->Put("a/s/o", Bytes("base")));
  ASSERT_OK(this->writer_->Patch("a/s/o", Bytes("1")));
  ASSERT_OK_AND_ASSIGN(const Row older, this->writer_->Patch("a/s/o", Bytes(Large('2'))));
  ASSERT_OK(this->writer_->Patch("a/s/o", Bytes("3")));
  EXPECT_EQ(this->writer_->Get("a/s/o"), "base|1|" + Large('2') + "|3");

  // An older row of the same base reads as it was.
  ASSERT_OK_AND_ASSIGN(auto object, this->store_->Read(KeyFor("a/s/o"), older));
  EXPECT_EQ(object.last_patch->version, older.version);

  ASSERT_OK(this->writer_->Put("a/s/o", Bytes("new")));
  EXPECT_EQ(this->writer_->Get("a/s/o"), "new");
  ASSERT_OK(this->writer_->Patch("a/s/o", Bytes("4")));
  EXPECT_EQ(this->writer_->Get("a/s/o"), "new|4");
}

TYPED_TEST(StoreContractTest, AReplacedRowReadsAsStale) {
  for (const std::string& text : {std::string("small"), Large('x')}) {
    ASSERT_OK_AND_ASSIGN(const Row row, this->writer_->Put("a/s/o", Bytes(text)));
    ASSERT_OK(this->writer_->Put("a/s/o", Bytes(text + "!")));
    EXPECT_TRUE(
        IsError(this->store_->Read(KeyFor("a/s/o"), row).status(), ErrorCode::kStale));
    ASSERT_OK_AND_ASSIGN(const auto newest, this->store_->Find(KeyFor("a/s/o")));
    ASSERT_OK(this->writer_->Delete("a/s/o"));
    EXPECT_TRUE(IsError(this->store_->Read(KeyFor("a/s/o"), *newest).status(),
                        ErrorCode::kStale));
  }
}

TYPED_TEST(StoreContractTest, ATombstoneRemembersTheLastVersion) {
  ASSERT_OK(this->writer_->Put("a/s/o", Bytes("1")));
  ASSERT_OK(this->writer_->Put("a/s/o", Bytes("2")));
  ASSERT_OK(this->writer_->Delete("a/s/o"));
  ASSERT_OK_AND_ASSIGN(auto row, this->store_->Find(KeyFor("a/s/o")));
  ASSERT_TRUE(row && row->deleted);
  EXPECT_EQ(row->version, 2);
  EXPECT_EQ(this->Keys("", "", 10).size(), 0u);
  const uint16_t slot = KeyFor("a/s/o").slot();
  ASSERT_OK_AND_ASSIGN(auto tombstones, this->store_->Tombstones(slot));
  ASSERT_EQ(tombstones.size(), 1u);
  EXPECT_EQ(tombstones[0].first.text(), "a/s/o");

  ASSERT_OK_AND_ASSIGN(const Row again, this->writer_->Put("a/s/o", Bytes("3")));
  EXPECT_EQ(again.version, 3);
  ASSERT_OK_AND_ASSIGN(tombstones, this->store_->Tombstones(slot));
  EXPECT_TRUE(tombstones.empty());
}

TYPED_TEST(StoreContractTest, FoldedTombstonesAreForgotten) {
  ASSERT_OK(this->writer_->Put("a/s/o", Bytes("1")));
  ASSERT_OK(this->writer_->Delete("a/s/o"));
  const uint16_t slot = KeyFor("a/s/o").slot();
  SlotState state = this->store_->Slot(slot);
  state.floor = 1;
  state.fold_seq = 2;
  state.tombstones = 0;
  CommitBatch batch;
  batch.slots.emplace_back(slot, state);
  batch.folded.emplace_back(slot, "a/s/o");
  ASSERT_OK(this->store_->Commit(std::move(batch), Durability::kProcess));
  EXPECT_EQ(this->writer_->Get("a/s/o"), "(absent)");
  EXPECT_EQ(this->store_->Slot(slot).floor, 1);
}

// Goal: a tombstone that is written behind a fold of the older one in the same batch
// survives.
TYPED_TEST(StoreContractTest, AFoldTakesOnlyTombstonesFromBeforeItsBatch) {
  ASSERT_OK(this->writer_->Put("a/s/o", Bytes("1")));
  ASSERT_OK(this->writer_->Delete("a/s/o"));
  ASSERT_OK_AND_ASSIGN(Mutation mutation, this->writer_->Next("a/s/o"));
  mutation.row.deleted = true;
  CommitBatch batch;
  batch.folded.emplace_back(mutation.key.slot(), "a/s/o");
  batch.mutations.push_back(std::move(mutation));
  ASSERT_OK(this->store_->Commit(std::move(batch), Durability::kProcess));
  ASSERT_OK_AND_ASSIGN(auto row, this->store_->Find(KeyFor("a/s/o")));
  ASSERT_TRUE(row.has_value());
  EXPECT_EQ(row->version, 2);
}

TYPED_TEST(StoreContractTest, ScanPagesThroughAPrefixInByteOrder) {
  for (const char* key : {"a/s/1", "a/s/2", "a/s/3", "a/t/1", "ab/s/1", "b/s/1"}) {
    ASSERT_OK(this->writer_->Put(key, Bytes(key)));
  }
  ASSERT_OK(this->writer_->Delete("a/s/2"));
  using Keys = std::vector<std::string>;
  EXPECT_EQ(this->Keys("a/", "", 2), (Keys{"a/s/1", "a/s/3"}));
  EXPECT_EQ(this->Keys("a/", "a/s/3", 2), (Keys{"a/t/1"}));
  EXPECT_EQ(this->Keys("a/", "a/t/1", 2), Keys{});
  EXPECT_EQ(this->Keys("a/s/", "", 9), (Keys{"a/s/1", "a/s/3"}));
  EXPECT_EQ(this->Keys("", "a/t/1", 9), (Keys{"ab/s/1", "b/s/1"}));
  EXPECT_EQ(this->Keys("", "", 0), Keys{});
  EXPECT_EQ(this->Keys("c", "", 9), Keys{});
}

TYPED_TEST(StoreContractTest, WhatExpiresIsFoundSoonestFirst) {
  ASSERT_OK(this->writer_->Put("a/s/late", Bytes("x"), 300));
  ASSERT_OK(this->writer_->Put("a/s/soon", Bytes("x"), 100));
  ASSERT_OK(this->writer_->Put("a/s/never", Bytes("x")));
  ASSERT_OK(this->writer_->Put("a/s/moved", Bytes("x"), 50));
  ASSERT_OK(this->writer_->Put("a/s/moved", Bytes("x"), 200));
  ASSERT_OK(this->writer_->Put("a/s/deleted", Bytes("x"), 10));
  ASSERT_OK(this->writer_->Delete("a/s/deleted"));
  ASSERT_OK_AND_ASSIGN(auto due, this->store_->DueBefore(200, 10));
  ASSERT_EQ(due.size(), 2u);
  EXPECT_EQ(due[0].first, 100);
  EXPECT_EQ(due[0].second.text(), "a/s/soon");
  EXPECT_EQ(due[1].first, 200);
  EXPECT_EQ(due[1].second.text(), "a/s/moved");
  ASSERT_OK_AND_ASSIGN(due, this->store_->DueBefore(1000, 1));
  EXPECT_EQ(due.size(), 1u);
  ASSERT_OK_AND_ASSIGN(due, this->store_->DueBefore(99, 10));
  EXPECT_TRUE(due.empty());
}

TYPED_TEST(StoreContractTest, ABatchMayChangeAKeySeveralTimes) {
  ASSERT_OK(this->writer_->Put("a/s/o", Bytes(Large('0'))));
  ASSERT_OK_AND_ASSIGN(Mutation put, this->writer_->Next("a/s/o"));
  put.row.base_version = put.row.version;
  ASSERT_OK_AND_ASSIGN(put.base, this->store_->StageBase(put.key, Bytes(Large('1')), 2));
  put.row.base = put.base->location();
  Mutation patch{put.key, put.row, put.row, nullptr, {}};
  patch.row.version = 3;
  patch.row.patch_count = 1;
  ASSERT_OK_AND_ASSIGN(auto staged, this->store_->StagePatch(put.key, Bytes("p"), 3));
  patch.patches.emplace_back(3, staged);
  Mutation gone{put.key, Row{}, patch.row, nullptr, {}};
  gone.row.version = 3;
  gone.row.deleted = true;
  Mutation last{put.key, Row{}, gone.row, nullptr, {}};
  last.row.version = last.row.base_version = 4;
  ASSERT_OK_AND_ASSIGN(last.base, this->store_->StageBase(put.key, Bytes(Large('4')), 4));
  last.row.base = last.base->location();
  Mutation onto{put.key, last.row, last.row, nullptr, {}};
  onto.row.version = 5;
  onto.row.patch_count = 1;
  ASSERT_OK_AND_ASSIGN(staged, this->store_->StagePatch(put.key, Bytes(Large('5')), 5));
  onto.patches.emplace_back(5, staged);

  CommitBatch batch;
  for (Mutation* mutation : {&put, &patch, &gone, &last, &onto}) {
    batch.mutations.push_back(std::move(*mutation));
  }
  ASSERT_OK(this->store_->Commit(std::move(batch), Durability::kDisk));
  EXPECT_EQ(this->writer_->Get("a/s/o"), Large('4') + "|" + Large('5'));
}

TYPED_TEST(StoreContractTest, PlainKeysMayHoldAnything) {
  for (const std::string& text :
       {std::string("k"), std::string("\0\xff/../x", 7), std::string("k\0", 2)}) {
    for (const std::string& value : {std::string("v"), Large('v')}) {
      const Key key = Key::Plain(text);
      ASSERT_OK_AND_ASSIGN(auto previous, this->store_->Find(key));
      Mutation mutation{key, Row{}, previous, nullptr, {}};
      mutation.row.version = mutation.row.base_version =
          previous ? previous->version + 1 : 1;
      ASSERT_OK_AND_ASSIGN(mutation.base, this->store_->StageBase(key, Bytes(value), 1));
      mutation.row.base = mutation.base->location();
      CommitBatch batch;
      batch.mutations.push_back(std::move(mutation));
      ASSERT_OK(this->store_->Commit(std::move(batch), Durability::kProcess));
      ASSERT_OK_AND_ASSIGN(auto row, this->store_->Find(key));
      ASSERT_OK_AND_ASSIGN(auto object, this->store_->Read(key, *row));
      EXPECT_EQ(TextOf(*object.base), value);
    }
  }
  EXPECT_EQ(this->Keys("", "", 10).size(), 3u);
}

TYPED_TEST(StoreContractTest, AcknowledgedWritesSurviveAReopen) {
  if (!TypeParam::kKeepsObjects) GTEST_SKIP() << "this store keeps no objects";
  for (const bool crash : {false, true}) {
    ASSERT_OK(this->writer_->Put("a/s/small", Bytes("small")));
    ASSERT_OK(this->writer_->Put("a/s/large", Bytes(Large('x'))));
    ASSERT_OK(this->writer_->Patch("a/s/large", Bytes("p")));
    ASSERT_OK(this->writer_->Patch("a/s/large", Bytes(Large('q'))));
    ASSERT_OK(this->writer_->Put("a/s/table", Table(0, 10)));
    ASSERT_OK(this->writer_->Put("a/s/gone", Bytes("x")));
    ASSERT_OK_AND_ASSIGN(const Row gone, this->writer_->Delete("a/s/gone"));
    const uint16_t slot = KeyFor("a/s/gone").slot();
    const SlotState before = this->store_->Slot(slot);
    const std::string id = this->store_->id();

    crash ? this->CrashAndReopen() : this->Reopen();

    EXPECT_EQ(this->writer_->Get("a/s/small"), "small");
    EXPECT_EQ(this->writer_->Get("a/s/large"), Large('x') + "|p|" + Large('q'));
    EXPECT_EQ(this->writer_->Get("a/s/table"), "(table)");
    ASSERT_OK_AND_ASSIGN(auto row, this->store_->Find(KeyFor("a/s/gone")));
    ASSERT_TRUE(row && row->deleted);
    EXPECT_EQ(row->version, gone.version);
    EXPECT_EQ(this->store_->Slot(slot).last_seq, before.last_seq);
    EXPECT_EQ(this->store_->Slot(slot).tombstones, before.tombstones);
    EXPECT_EQ(this->store_->Slot(slot).generation, 0u);
    EXPECT_EQ(this->store_->id(), id);
  }
}

TYPED_TEST(StoreContractTest, A3_NoVersionIsGivenOutTwiceAcrossACrash) {
  Version last = 0;
  for (int round = 0; round < 3; ++round) {
    ASSERT_OK_AND_ASSIGN(const Row put, this->writer_->Put("a/s/o", Bytes("x")));
    EXPECT_GT(put.version, last);
    last = put.version;
    if (round == 1) ASSERT_OK(this->writer_->Delete("a/s/o").status());
    this->CrashAndReopen();
  }
}

// Goal: whatever the order of operations, a store reads as a map does. Method: random
// puts, patches and deletes, with reopens and crashes between them.
TYPED_TEST(StoreContractTest, RandomWorkReadsAsAMapDoes) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  std::map<std::string, std::string> model;
  for (int step = 0; step < 300; ++step) {
    const std::string key =
        "a/s" + std::to_string(random() % 3) + "/" + std::to_string(random() % 5);
    const std::string text(random() % 3 == 0 ? 70'000 : random() % 100,
                           static_cast<char>('a' + random() % 26));
    const uint64_t what = random() % 20;
    if (what < 9) {
      ASSERT_OK(this->writer_->Put(key, Bytes(text)));
      model[key] = text;
    } else if (what < 15 && model.contains(key)) {
      ASSERT_OK(this->writer_->Patch(key, Bytes(text)));
      model[key] += "|" + text;
    } else if (what < 18 && model.contains(key)) {
      ASSERT_OK(this->writer_->Delete(key));
      model.erase(key);
    } else if (TypeParam::kKeepsObjects && what >= 18 && random() % 4 == 0) {
      what == 18 ? this->Reopen() : this->CrashAndReopen();
    }
  }
  for (const auto& [key, text] : model) EXPECT_EQ(this->writer_->Get(key), text) << key;
  EXPECT_EQ(this->Keys("", "", 100).size(), model.size());
}

TYPED_TEST(StoreContractTest, StatsCountWhatIsStored) {
  EXPECT_EQ(this->store_->stats().objects_estimate, 0);
  for (int i = 0; i < 10; ++i)
    ASSERT_OK(
        this->writer_->Put("a/s/" + std::to_string(i), Bytes(std::string(100, 'x'))));
  ASSERT_OK(this->writer_->Put("a/s/0", Bytes(std::string(70'000, 'x'))));
  ASSERT_OK(this->writer_->Patch("a/s/0", Bytes("four")));
  ASSERT_OK(this->writer_->Delete("a/s/1"));
  EXPECT_EQ(this->store_->stats().objects_estimate, 9);
  EXPECT_EQ(this->store_->stats().bytes_estimate, 8 * 100 + 70'004);
}

}  // namespace
}  // namespace flame
