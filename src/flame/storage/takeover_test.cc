// Files of other programs, made here as docs/internals/records.md says that they make
// them: the existing server (ZSTD, with
// `.deltas` directories) and clients in local mode (uncompressed, version 0).
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include <arrow/io/file.h>
#include <arrow/ipc/writer.h>
#include <arrow/table.h>
#include <arrow/testing/gtest_util.h>
#include <arrow/util/compression.h>
#include <arrow/util/key_value_metadata.h>

#include "flame/base/error.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/store_testing.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

namespace fs = std::filesystem;
using Codec = arrow::Compression;

class TakeoverTest : public ::testing::Test {
 protected:
  void Open(int64_t pack_below = 64 << 10) {
    ASSERT_OK_AND_ASSIGN(store_, FsStore::Open({.root = dir_.path(),
                                                .pack_below = pack_below,
                                                .write_buffer_bytes = 8 << 20,
                                                .clock = &clock_}));
    writer_.emplace(store_.get());
  }
  void Reopen() {
    ASSERT_OK(store_->Close());
    store_.reset();
    Open();
  }

  void WriteBatches(const std::string& path, const std::shared_ptr<arrow::Schema>& schema,
                    const arrow::RecordBatchVector& batches, Codec::type codec) {
    fs::create_directories(fs::path(dir_ / path).parent_path());
    auto options = arrow::ipc::IpcWriteOptions::Defaults();
    if (codec != Codec::UNCOMPRESSED) {
      ASSERT_OK_AND_ASSIGN(options.codec, arrow::util::Codec::Create(codec));
    }
    ASSERT_OK_AND_ASSIGN(auto file, arrow::io::FileOutputStream::Open(dir_ / path));
    ASSERT_OK_AND_ASSIGN(auto writer, arrow::ipc::MakeFileWriter(file, schema, options));
    for (const auto& batch : batches) ASSERT_OK(writer->WriteRecordBatch(*batch));
    ASSERT_OK(writer->Close());
    ASSERT_OK(file->Close());
  }
  void WriteOpaque(const std::string& path, uint64_t version, const std::string& text,
                   Codec::type codec = Codec::ZSTD) {
    arrow::UInt64Builder versions;
    ASSERT_OK(versions.Append(version));
    arrow::BinaryBuilder data;
    ASSERT_OK(data.Append(text));
    const bool nullable = codec == Codec::UNCOMPRESSED;  // As local mode writes it.
    const auto schema = arrow::schema({arrow::field("version", arrow::uint64(), nullable),
                                       arrow::field("data", arrow::binary(), nullable)});
    WriteBatches(
        path, schema,
        {arrow::RecordBatch::Make(
            schema, 1, {versions.Finish().ValueOrDie(), data.Finish().ValueOrDie()})},
        codec);
  }
  void WriteTable(const std::string& path, const std::string& version,
                  Codec::type codec = Codec::ZSTD) {
    const auto schema = Numbers(0, 1)->schema()->WithMetadata(arrow::key_value_metadata(
        {"flame.cache.format", "flame.cache.version", "flame.cache.logical_type", "mine"},
        {"arrow-table-v1", version, "pandas", "kept"}));
    WriteBatches(path, schema,
                 {Numbers(0, 1000)->ReplaceSchemaMetadata(schema->metadata()),
                  Numbers(1000, 5)->ReplaceSchemaMetadata(schema->metadata())},
                 codec);
  }
  void WriteText(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(dir_ / path).parent_path());
    std::ofstream(dir_ / path) << text;
  }

  /// What the cache does on the first access: read, then commit what was found.
  arrow::Result<std::optional<ForeignObject>> Read(const std::string& text) {
    ARROW_ASSIGN_OR_RAISE(const auto row, store_->Find(KeyFor(text)));
    return store_->ReadForeign(KeyFor(text), row ? &*row : nullptr);
  }
  arrow::Status Adopt(const std::string& text) {
    ARROW_ASSIGN_OR_RAISE(const auto object, Read(text));
    if (!object) return MakeError(ErrorCode::kNotFound, "nothing to adopt");
    ARROW_ASSIGN_OR_RAISE(Mutation mutation, writer_->Next(text));
    Row& row = mutation.row;
    row.base_version = std::max<Version>(object->base_version, 1);
    row.version = row.base_version + std::ssize(object->patches);
    row.kind = object->base->kind();
    row.base_bytes = object->base->size();
    row.patch_count = static_cast<int32_t>(object->patches.size());
    if (row.kind == Kind::kNative) {
      ARROW_ASSIGN_OR_RAISE(row.schema, EncodeSchema(*object->base->schema()));
    }
    ARROW_ASSIGN_OR_RAISE(mutation.base, store_->AdoptBase(mutation.key, *object));
    row.base = mutation.base->location();
    row.checksum = mutation.base->checksum();
    Version version = row.base_version;
    for (const auto& [stored, payload] : object->patches) {
      ARROW_ASSIGN_OR_RAISE(auto staged,
                            store_->StagePatch(mutation.key, payload, ++version));
      mutation.patches.emplace_back(version, std::move(staged));
    }
    return writer_->Commit(std::move(mutation)).status();
  }
  std::set<std::string> Keys() {
    std::set<std::string> keys;
    for (const auto& [key, row] : store_->Scan("", "", 1000).ValueOrDie())
      keys.insert(key.text());
    return keys;
  }
  int64_t Quarantined() {
    int64_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         fs::directory_iterator(dir_ / ".flame/quarantine")) {
      ++count;
    }
    EXPECT_EQ(count, store_->stats().quarantined);
    return count;
  }

  TempDirectory dir_;
  ManualClock clock_;
  std::unique_ptr<FsStore> store_;
  std::optional<Writer> writer_;
};

std::string Versions(const ForeignObject& object) {
  std::string text = std::to_string(object.base_version);
  for (const auto& [version, payload] : object.patches) {
    text += " " + std::to_string(version) + ":" + TextOf(*payload);
  }
  return text;
}

TEST_F(TakeoverTest, ADirectoryOfTheExistingServerIsTakenOverByName) {
  WriteOpaque("app/s1/opaque.arrow", 3, "hello");
  WriteTable("app/s1/table.arrow", "5");
  WriteOpaque("app/s2/with:colon 7.arrow", 1, "x");
  WriteOpaque("old/two-level.arrow", 1, "y");
  WriteText("app/s1/notes.txt", "not an object");
  WriteText("app/s1/deep/er/file.arrow", "too deep");
  WriteText("stray.arrow", "too high");
  Open();
  EXPECT_EQ(Keys(),
            (std::set<std::string>{"app/s1/opaque", "app/s1/table", "app/s2/with:colon 7",
                                   "default/old/two-level"}));
  ASSERT_OK_AND_ASSIGN(const auto row, store_->Find(KeyFor("app/s1/opaque")));
  EXPECT_EQ(row->base.type, Location::Type::kUnread);
  EXPECT_EQ(row->version, 0);
  EXPECT_EQ(row->base.stored_bytes,
            static_cast<int64_t>(fs::file_size(dir_ / "app/s1/opaque.arrow")));
  Reopen();
  EXPECT_EQ(Keys().size(), 4u);
}

TEST_F(TakeoverTest, A7_NoFileIsOpenedAtTheStart) {
  WriteText("app/s/empty.arrow", "");
  WriteText("app/s/garbage.arrow", "not arrow at all");
  WriteOpaque("app/s/good.arrow", 1, "good");
  WriteText("app/s/good.deltas/0.arrow", "");
  WriteText("app/\xff\xfe/o.arrow", "");
  WriteText("app/s/\xc3.arrow", "");
  fs::create_directories(dir_ / "app/s/dir.arrow");
  Open();
  EXPECT_EQ(Keys(),
            (std::set<std::string>{"app/s/empty", "app/s/garbage", "app/s/good"}));
  EXPECT_EQ(Quarantined(), 0);
  EXPECT_TRUE(fs::exists(dir_ / "app/s/\xc3.arrow"));
}

TEST_F(TakeoverTest, ObjectsAreReadWhateverTheirCompression) {
  WriteOpaque("a/s/zstd.arrow", 3, std::string(100'000, 'z'), Codec::ZSTD);
  WriteOpaque("a/s/lz4.arrow", 4, std::string(100'000, 'l'), Codec::LZ4_FRAME);
  WriteOpaque("a/s/plain.arrow", 0, "local mode", Codec::UNCOMPRESSED);
  WriteOpaque("a/s/empty.arrow", 1, "");
  WriteTable("a/s/table.arrow", "5");
  WriteTable("a/s/local-table.arrow", "0", Codec::UNCOMPRESSED);
  WriteTable("a/s/odd-table.arrow", "not a number");
  Open();
  struct Case {
    const char* name;
    Version version;
    std::string text;
  };
  for (const Case& c : {Case{"zstd", 3, std::string(100'000, 'z')},
                        Case{"lz4", 4, std::string(100'000, 'l')},
                        Case{"plain", 0, "local mode"}, Case{"empty", 1, ""}}) {
    ASSERT_OK_AND_ASSIGN(const auto object, Read(std::string("a/s/") + c.name));
    ASSERT_TRUE(object.has_value()) << c.name;
    EXPECT_EQ(object->base_version, c.version);
    EXPECT_EQ(TextOf(*object->base), c.text);
  }
  for (const auto& [name, version] :
       {std::pair("table", 5), std::pair("local-table", 0), std::pair("odd-table", 0)}) {
    ASSERT_OK_AND_ASSIGN(const auto object, Read(std::string("a/s/") + name));
    ASSERT_TRUE(object.has_value()) << name;
    EXPECT_EQ(object->base_version, version);
    const auto& schema = *object->base->schema();
    EXPECT_EQ(schema.metadata()->ToString(),
              arrow::key_value_metadata({"flame.cache.logical_type", "mine"},
                                        {"pandas", "kept"})
                  ->ToString());
    ASSERT_OK_AND_ASSIGN(const auto batches, DecodeNative(object->base->schema(),
                                                          object->base->frames(), true));
    ASSERT_EQ(batches.size(), 2u);
    EXPECT_TRUE(batches[0]->Equals(*Numbers(0, 1000)));
  }
}

TEST_F(TakeoverTest, AdoptedObjectsStayInTheirFilesAndAreReadAgain) {
  WriteOpaque("a/s/o.arrow", 3, std::string(100'000, 'z'));
  WriteOpaque("a/s/o.deltas/0.arrow", 4, "p1");
  WriteOpaque("a/s/o.deltas/1.arrow", 5, "p2");
  WriteTable("a/s/t.arrow", "5");
  WriteOpaque("old/o.arrow", 0, "two levels", Codec::UNCOMPRESSED);
  Open();
  for (const char* key : {"a/s/o", "a/s/t", "default/old/o"}) ASSERT_OK(Adopt(key));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(writer_->Get("a/s/o"), std::string(100'000, 'z') + "|p1|p2");
    EXPECT_EQ(writer_->Get("default/old/o"), "two levels");
    EXPECT_EQ(writer_->Get("a/s/t"), "(table)");
    EXPECT_FALSE(fs::exists(dir_ / "a/s/o.deltas"));
    Reopen();
  }
  // A later version takes the file's place; of an object at two levels, in the proper
  // place.
  for (const char* key : {"a/s/o", "default/old/o"}) {
    ASSERT_OK(writer_->Patch(key, Bytes("more")));
    ASSERT_OK(writer_->Put(key, Bytes(std::string(100'000, 'n'))));
    EXPECT_EQ(writer_->Get(key), std::string(100'000, 'n'));
  }
  EXPECT_TRUE(fs::exists(dir_ / "default/old/o.arrow"));
  EXPECT_FALSE(fs::exists(dir_ / "old"));
  ASSERT_OK(writer_->Delete("a/s/o"));
  ASSERT_OK(writer_->Delete("a/s/t"));
  EXPECT_FALSE(fs::exists(dir_ / "a"));
}

TEST_F(TakeoverTest, PuttingOrDeletingAnUnreadObjectRemovesItsFiles) {
  for (const char* name : {"a/s/put", "a/s/small", "a/s/deleted"}) {
    WriteOpaque(std::string(name) + ".arrow", 3, "old");
    WriteOpaque(std::string(name) + ".deltas/0.arrow", 4, "p");
  }
  Open();
  ASSERT_OK(writer_->Put("a/s/put", Bytes(std::string(100'000, 'n'))));
  ASSERT_OK(writer_->Put("a/s/small", Bytes("n")));
  ASSERT_OK(writer_->Delete("a/s/deleted"));
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(dir_ / "a/s"))
    names.insert(entry.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{"put.arrow"}));
  EXPECT_EQ(writer_->Get("a/s/put"), std::string(100'000, 'n'));
}

TEST_F(TakeoverTest, PatchesAreSortedByNumberAndNumberedByPosition) {
  WriteOpaque("a/s/o.arrow", 3, "base");
  for (int i = 0; i < 12; ++i) {
    WriteOpaque("a/s/o.deltas/" + std::to_string(i) + ".arrow", 0, std::to_string(i));
  }
  WriteOpaque("a/s/o.deltas/extra.arrow", 0, "e");
  WriteText("a/s/o.deltas/readme.txt", "no patch");
  Open();
  ASSERT_OK_AND_ASSIGN(const auto object, Read("a/s/o"));
  EXPECT_EQ(Versions(*object),
            "3 4:0 5:1 6:2 7:3 8:4 9:5 10:6 11:7 12:8 13:9 14:10 15:11 16:e");
}

TEST_F(TakeoverTest, A8_LeftoversOfACrashAreDroppedAndTheRestIsKept) {
  WriteOpaque("a/s/stale.arrow", 5, "new base");
  WriteOpaque("a/s/stale.deltas/0.arrow", 4, "old");
  WriteOpaque("a/s/stale.deltas/1.arrow", 5, "old");
  WriteOpaque("a/s/stale.deltas/2.arrow", 6, "kept");
  WriteOpaque("a/s/back.arrow", 1, "base");
  WriteOpaque("a/s/back.deltas/0.arrow", 2, "a");
  WriteOpaque("a/s/back.deltas/1.arrow", 2, "again");
  WriteOpaque("a/s/back.deltas/2.arrow", 3, "after");
  WriteOpaque("a/s/bad.arrow", 1, "base");
  WriteOpaque("a/s/bad.deltas/0.arrow", 2, "a");
  WriteText("a/s/bad.deltas/1.arrow", "half a fi");
  WriteOpaque("a/s/bad.deltas/2.arrow", 4, "c");
  WriteTable("a/s/table.arrow", "1");
  WriteOpaque("a/s/table.deltas/0.arrow", 2, "lost by the old server as well");
  Open();
  struct Case {
    const char* name;
    const char* versions;
  };
  for (const Case& c : {Case{"stale", "5 6:kept"}, Case{"back", "1 2:a"},
                        Case{"bad", "1 2:a 4:c"}, Case{"table", "1"}}) {
    ASSERT_OK_AND_ASSIGN(const auto object, Read(std::string("a/s/") + c.name));
    ASSERT_TRUE(object.has_value()) << c.name;
    EXPECT_EQ(Versions(*object), c.versions);
  }
  EXPECT_EQ(Quarantined(), 1);
}

TEST_F(TakeoverTest, A7_BadFilesAreMovedAsideWhenTheyAreAskedFor) {
  WriteText("a/s/empty.arrow", "");
  WriteText("a/s/garbage.arrow", "ARROW1 but not really");
  WriteOpaque("a/s/cut.arrow", 1, std::string(10'000, 'x'), Codec::UNCOMPRESSED);
  fs::resize_file(dir_ / "a/s/cut.arrow", 5000);
  const auto one_column = arrow::schema({arrow::field("data", arrow::int64())});
  WriteBatches("a/s/one-column.arrow", one_column,
               {arrow::RecordBatch::Make(one_column, 3, {Numbers(0, 3)->column(0)})},
               Codec::ZSTD);
  const auto two = arrow::schema(
      {arrow::field("a", arrow::int64()), arrow::field("b", arrow::int64())});
  WriteBatches("a/s/wrong-types.arrow", two,
               {arrow::RecordBatch::Make(
                   two, 1, {Numbers(0, 1)->column(0), Numbers(0, 1)->column(0)})},
               Codec::ZSTD);
  WriteBatches("a/s/no-batch.arrow", two, {}, Codec::ZSTD);
  Open();
  int64_t count = 0;
  for (const auto& key : Keys()) {
    ASSERT_OK_AND_ASSIGN(const auto object, Read(key));
    EXPECT_FALSE(object.has_value()) << key;
    EXPECT_FALSE(fs::exists(dir_ / (key + ".arrow"))) << key;
    EXPECT_EQ(Quarantined(), ++count);
    // The cache then writes a tombstone.
    ASSERT_OK(writer_->Delete(key));
  }
  EXPECT_EQ(count, 6);
  EXPECT_FALSE(fs::exists(dir_ / "a"));
}

TEST_F(TakeoverTest, A2_AnObjectAtTwoLevelsIsFoundWhereItIs) {
  WriteOpaque("s/o.arrow", 2, "two");
  WriteOpaque("default/s/both.arrow", 3, "three");
  WriteOpaque("s/both.arrow", 2, "two");
  Open();
  EXPECT_EQ(Keys(), (std::set<std::string>{"default/s/both", "default/s/o"}));
  ASSERT_OK_AND_ASSIGN(auto object, Read("default/s/o"));
  EXPECT_EQ(TextOf(*object->base), "two");
  ASSERT_OK_AND_ASSIGN(object, Read("default/s/both"));
  EXPECT_EQ(TextOf(*object->base), "three");
  // Ours is no application and no session.
  WriteOpaque(".flame/o.arrow", 1, "ours");
  ASSERT_OK_AND_ASSIGN(object, store_->ReadForeign(KeyFor("default/.flame/o"), nullptr));
  EXPECT_FALSE(object.has_value());
}

// While we run

TEST_F(TakeoverTest, C14_AFileThatAppearsWhileWeRunIsFoundByItsKey) {
  Open();
  ASSERT_OK_AND_ASSIGN(auto object, Read("a/s/o"));
  EXPECT_FALSE(object.has_value());
  WriteOpaque("a/s/o.arrow", 0, "local", Codec::UNCOMPRESSED);
  EXPECT_TRUE(Keys().empty());
  ASSERT_OK_AND_ASSIGN(object, Read("a/s/o"));
  ASSERT_TRUE(object.has_value());
  EXPECT_EQ(object->base_version, 0);
  EXPECT_EQ(object->path, "a/s/o.arrow");
  ASSERT_OK(Adopt("a/s/o"));
  EXPECT_EQ(writer_->Get("a/s/o"), "local");
  EXPECT_EQ(Keys().size(), 1u);
}

TEST_F(TakeoverTest, AFileThatIsStillBeingWrittenIsNotBad) {
  clock_.SetWall(Clock::System()->WallMs());
  Open();
  WriteText("a/s/o.arrow", "ARROW1\0\0 half of it");
  ASSERT_OK_AND_ASSIGN(auto object, Read("a/s/o"));
  EXPECT_FALSE(object.has_value());
  EXPECT_TRUE(fs::exists(dir_ / "a/s/o.arrow"));
  clock_.Advance(std::chrono::minutes(1));
  ASSERT_OK_AND_ASSIGN(object, Read("a/s/o"));
  EXPECT_FALSE(object.has_value());
  EXPECT_FALSE(fs::exists(dir_ / "a/s/o.arrow"));
  EXPECT_EQ(Quarantined(), 1);
}

TEST_F(TakeoverTest, LinksOutOfTheRootAreRefused) {
  TempDirectory outside;
  WriteOpaque("a/s/real.arrow", 1, "secret");
  fs::rename(dir_ / "a/s/real.arrow", outside / "secret.arrow");
  fs::create_symlink(outside / "secret.arrow", dir_ / "a/s/o.arrow");
  fs::create_directory_symlink(outside.path(), dir_ / "a/link");
  Open();
  EXPECT_TRUE(Keys().empty());
  ASSERT_OK_AND_ASSIGN(auto object, Read("a/s/o"));
  EXPECT_FALSE(object.has_value());
  ASSERT_OK_AND_ASSIGN(const auto behind, Read("a/link/secret"));
  EXPECT_FALSE(behind.has_value());
  ASSERT_OK_AND_ASSIGN(const auto strays, store_->Strays("a/", 10));
  EXPECT_TRUE(strays.empty());
  EXPECT_TRUE(fs::exists(outside / "secret.arrow"));
}

TEST_F(TakeoverTest, StraysAreFilesThatNoRowKnows) {
  WriteOpaque("a/s/known.arrow", 1, "x");
  Open();
  ASSERT_OK(writer_->Put("a/s/ours", Bytes(std::string(100'000, 'x'))));
  WriteOpaque("a/s/new.arrow", 0, "x");
  WriteOpaque("a/t/new.arrow", 0, "x");
  WriteOpaque("ab/s/new.arrow", 0, "x");
  WriteOpaque("s/new.arrow", 0, "x");
  const auto strays = [&](const std::string& prefix, int64_t limit) {
    std::set<std::string> keys;
    for (const Key& key : store_->Strays(prefix, limit).ValueOrDie())
      keys.insert(key.text());
    return keys;
  };
  using Keys = std::set<std::string>;
  EXPECT_EQ(strays("a/", 10), (Keys{"a/s/new", "a/t/new"}));
  EXPECT_EQ(strays("a/t/", 10), (Keys{"a/t/new"}));
  EXPECT_EQ(strays("default/", 10), (Keys{"default/s/new"}));
  EXPECT_EQ(strays("default/s/", 10), (Keys{"default/s/new"}));
  EXPECT_EQ(strays("", 10).size(), 4u);
  EXPECT_EQ(strays("", 2).size(), 2u);
  EXPECT_EQ(strays("none/", 10), Keys{});
}

TEST_F(TakeoverTest, ATakeoverThatWasKilledIsRepeated) {
  WriteOpaque("a/s/o.arrow", 1, "x");
  Open();
  store_.reset();
  // As if the mark had not been written: the database is made anew.
  fs::remove_all(dir_ / ".flame");
  WriteOpaque("a/s/p.arrow", 1, "x");
  Open();
  EXPECT_EQ(Keys().size(), 2u);
}

}  // namespace
}  // namespace flame
