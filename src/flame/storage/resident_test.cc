// What a resident object gives its readers, packed or not.
#include "flame/storage/resident.h"

#include <functional>
#include <limits>
#include <string>

#include <gtest/gtest.h>

namespace flame {
namespace {

std::shared_ptr<const Snapshot> SnapshotOf(const std::vector<std::string>& chunks) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->version = snapshot->base_version = 3;
  snapshot->seq = 4;
  snapshot->modified_ms = 5;
  snapshot->expires_at_ms = 6;
  Chunks buffers;
  for (const std::string& chunk : chunks) {
    buffers.push_back(arrow::Buffer::FromString(chunk));
    snapshot->bytes += std::ssize(chunk);
  }
  snapshot->base = Payload::Opaque(std::move(buffers));
  return snapshot;
}

std::string BytesOf(const Snapshot& snapshot) {
  std::string bytes;
  for (const auto& chunk : snapshot.base->chunks()) bytes += chunk->ToString();
  return bytes;
}

TEST(ResidentTest, APackedObjectGivesBackWhatItWasMadeFrom) {
  for (const std::vector<std::string>& chunks :
       {std::vector<std::string>{}, {""}, {"one"}, {"one", "", "two"}}) {
    const auto original = SnapshotOf(chunks);
    const auto resident = Resident::Packed("a/b/c", *original, 77);
    EXPECT_EQ(resident->key(), "a/b/c");
    EXPECT_EQ(resident->charge, 77);
    EXPECT_EQ(resident->version(), 3);
    EXPECT_EQ(resident->seq(), 4u);
    EXPECT_EQ(resident->expires_at_ms(), 6);
    EXPECT_EQ(resident->bytes(), original->bytes);
    EXPECT_EQ(resident->kind(), Kind::kOpaque);
    EXPECT_EQ(resident->shared_snapshot(), nullptr);
    const auto read = resident->snapshot();
    EXPECT_EQ(BytesOf(*read), BytesOf(*original));
    EXPECT_EQ(read->version, 3);
    EXPECT_EQ(read->base_version, 3);
    EXPECT_EQ(read->seq, 4u);
    EXPECT_EQ(read->modified_ms, 5);
    EXPECT_EQ(read->expires_at_ms, 6);
    EXPECT_EQ(read->bytes, original->bytes);
    EXPECT_EQ(read->patch_count, 0);
  }
}

TEST(ResidentTest, TheLargestNumbersFit) {
  auto original = SnapshotOf({"bytes"});
  Snapshot largest = *original;
  largest.version = largest.base_version = std::numeric_limits<Version>::max();
  largest.seq = std::numeric_limits<uint64_t>::max();
  largest.modified_ms = largest.expires_at_ms = std::numeric_limits<int64_t>::max();
  const std::string key(1000, 'k');
  const auto resident = Resident::Packed(key, largest, 1);
  EXPECT_EQ(resident->key(), key);
  EXPECT_EQ(resident->version(), largest.version);
  EXPECT_EQ(resident->seq(), largest.seq);
  EXPECT_EQ(resident->snapshot()->modified_ms, largest.modified_ms);
  EXPECT_EQ(resident->expires_at_ms(), largest.expires_at_ms);
  EXPECT_EQ(BytesOf(*resident->snapshot()), "bytes");
}

Row RowOf(const std::string& bytes) {
  Row row;
  row.version = row.base_version = 3;
  row.seq = 4;
  row.wall_ms = 5;
  row.expires_at_ms = 6;
  row.meta_seq = 7;
  row.base_bytes = std::ssize(bytes);
  return row;
}

TEST(ResidentTest, AStoredObjectGivesBackItsRow) {
  constexpr auto kMost = std::numeric_limits<uint64_t>::max();
  const auto snapshot = SnapshotOf({"by", "tes"});
  for (const auto& entries : std::vector<std::vector<OpHistory::Entry>>{
           {},
           {{.op = {1, 2}, .version = 3}},
           {4, {.op = {kMost, kMost}, .version = std::numeric_limits<Version>::max()}}}) {
    for (const bool overflowed : {false, true}) {
      Row row = RowOf("bytes");
      row.ops = {entries, overflowed};
      ASSERT_TRUE(Resident::HasPackedForm(row, *SnapshotOf({"bytes"})->base));
      const auto resident = Resident::Stored("a/b/c", row, *snapshot->base);
      EXPECT_EQ(resident->key(), "a/b/c");
      EXPECT_EQ(resident->bytes(), 5);
      EXPECT_EQ(BytesOf(*resident->snapshot()), "bytes");
      const Row read = resident->row();
      EXPECT_EQ(read.base.type, Location::Type::kHeap);
      // All else is what a disk would give back.
      row.base.type = Location::Type::kInline;
      Row inlined = read;
      inlined.base.type = Location::Type::kInline;
      EXPECT_EQ(EncodeRow(1, inlined), EncodeRow(1, row));
    }
  }
}

TEST(ResidentTest, ARowWithMoreToItHasNoPackedForm) {
  const std::vector<std::function<void(Row*)>> mores = {
      [](Row* row) { row->version = 4; },
      [](Row* row) { row->patch_count = 1; },
      [](Row* row) { row->epoch = 1; },
      [](Row* row) { row->checksum = 1; },
      [](Row* row) { row->kind = Kind::kNative; },
      [](Row* row) { row->base_bytes = Resident::kMaxPackedBytes + 1; },
      [](Row* row) { row->ops.entries.resize(OpHistory::kOrigins + 1); }};
  for (const auto& add : mores) {
    Row row = RowOf("bytes");
    EXPECT_TRUE(Resident::HasPackedForm(row, *SnapshotOf({"bytes"})->base));
    add(&row);
    EXPECT_FALSE(Resident::HasPackedForm(row, *SnapshotOf({"bytes"})->base));
  }
}

TEST(ResidentTest, AStoredObjectIsInUseBesideTableAndStore) {
  const auto store = Resident::Stored("a/b/c", RowOf("x"), *SnapshotOf({"x"})->base);
  const auto table = store;
  EXPECT_FALSE(table->in_use());
  const auto read = store->snapshot();
  EXPECT_TRUE(table->in_use());
}

TEST(ResidentTest, AReaderKeepsPackedBytesAlive) {
  auto resident = Resident::Packed("a/b/c", *SnapshotOf({"bytes"}), 1);
  EXPECT_FALSE(resident->in_use());
  const auto read = resident->snapshot();
  EXPECT_TRUE(resident->in_use());
  resident.reset();
  EXPECT_EQ(BytesOf(*read), "bytes");
}

TEST(ResidentTest, ASharedObjectGivesOutTheSnapshotItself) {
  auto original = SnapshotOf({"bytes"});
  const auto* address = original.get();
  const auto resident = Resident::Shared("a/b/c", std::move(original), 1);
  EXPECT_FALSE(resident->in_use());
  const auto read = resident->snapshot();
  EXPECT_EQ(read.get(), address);
  EXPECT_TRUE(resident->in_use());
  EXPECT_EQ(resident->version(), 3);
  EXPECT_EQ(resident->bytes(), 5);
}

TEST(ResidentTest, ItsFootprintIsASizeThatAnAllocatorHandsOut) {
  // Of jemalloc, where that is more than glibc's: 4096 bytes and what is held about them
  // do not fit its class of 4096, and the next one is 5120.
  EXPECT_EQ(Resident::PackedFootprint(20, 4096), 5120);
  EXPECT_EQ(Resident::PackedFootprint(20, 100), 192);
  for (int64_t bytes = 0; bytes <= Resident::kMaxPackedBytes; ++bytes) {
    EXPECT_GE(Resident::PackedFootprint(20, bytes), bytes + 20 + 40);
  }
}

TEST(ResidentTest, OnlySmallOpaqueObjectsWithoutPatchesArePacked) {
  EXPECT_TRUE(Resident::CanPack(Kind::kOpaque, 0, Resident::kMaxPackedBytes));
  EXPECT_FALSE(Resident::CanPack(Kind::kOpaque, 0, Resident::kMaxPackedBytes + 1));
  EXPECT_FALSE(Resident::CanPack(Kind::kOpaque, 1, 1));
  EXPECT_FALSE(Resident::CanPack(Kind::kNative, 0, 1));
}

}  // namespace
}  // namespace flame
