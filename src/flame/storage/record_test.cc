#include "flame/storage/record.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

#include <arrow/testing/gtest_util.h>
#include <arrow/util/string.h>

#include "flame/base/error.h"

namespace flame {
namespace {

Row FileRow() {
  Row row;
  row.seq = 0x0102030405060708;
  row.epoch = 9;
  row.wall_ms = 1'700'000'000'000;
  row.version = 7;
  row.ops.entries = {{{0xaa, 2}, 7}, {{0xbb, 1}, 6}};
  row.ops.overflowed = true;
  row.meta_seq = 3;
  row.expires_at_ms = 1'700'000'060'000;
  row.base_version = 5;
  row.kind = Kind::kNative;
  row.patch_count = 2;
  row.base_bytes = 1000;
  row.patch_bytes = 20;
  row.checksum = 0x1122334455667788;
  row.schema = arrow::Buffer::FromString("schema");
  row.base = {Location::Type::kFile, "a/s/o.arrow", 77, 1024, false};
  return row;
}

Row Tombstone() {
  Row row;
  row.seq = 11;
  row.wall_ms = 12;
  row.version = 13;
  row.deleted = true;
  row.ops.entries = {{{14, 15}, 13}};
  return row;
}

std::string Hex(std::string_view bytes) { return arrow::HexEncode(bytes); }

void ExpectSame(const Row& a, const Row& b) {
  EXPECT_EQ(a.seq, b.seq);
  EXPECT_EQ(a.epoch, b.epoch);
  EXPECT_EQ(a.wall_ms, b.wall_ms);
  EXPECT_EQ(a.version, b.version);
  EXPECT_EQ(a.deleted, b.deleted);
  EXPECT_EQ(a.ops.overflowed, b.ops.overflowed);
  ASSERT_EQ(a.ops.entries.size(), b.ops.entries.size());
  for (size_t i = 0; i < a.ops.entries.size(); ++i) {
    EXPECT_EQ(a.ops.entries[i].op, b.ops.entries[i].op);
    EXPECT_EQ(a.ops.entries[i].version, b.ops.entries[i].version);
  }
  EXPECT_EQ(a.meta_seq, b.meta_seq);
  EXPECT_EQ(a.expires_at_ms, b.expires_at_ms);
  EXPECT_EQ(a.base_version, b.base_version);
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.patch_count, b.patch_count);
  EXPECT_EQ(a.base_bytes, b.base_bytes);
  EXPECT_EQ(a.patch_bytes, b.patch_bytes);
  EXPECT_EQ(a.checksum, b.checksum);
  ASSERT_EQ(a.schema == nullptr, b.schema == nullptr);
  if (a.schema != nullptr) {
    EXPECT_TRUE(a.schema->Equals(*b.schema));
  }
  EXPECT_EQ(a.base.type, b.base.type);
  EXPECT_EQ(a.base.path, b.base.path);
  EXPECT_EQ(a.base.file_id, b.base.file_id);
  EXPECT_EQ(a.base.stored_bytes, b.base.stored_bytes);
  EXPECT_EQ(a.base.foreign, b.base.foreign);
}

// A change of these bytes breaks every existing disk: make a new format number instead.
TEST(Record, RowsAreEncodedAsTheyWereInTheFirstRelease) {
  EXPECT_EQ(Hex(EncodeRow(0x1234, FileRow())),
            "01341209000000000000000807060504030201"
            "0068E5CF8B01000007000000000000000E02"
            "AA0000000000000002000000000000000700000000000000"
            "BB0000000000000001000000000000000600000000000000"
            "030000000000000060"
            "52E6CF8B010000050000000000000001"
            "02000000E8030000000000001400000000000000"
            "044D0000000000000000040000000000000B612F732F6F2E6172726F77"
            "887766554433221106736368656D61");
  EXPECT_EQ(Hex(EncodeRow(1, Tombstone())),
            "01010000000000000000000B000000000000000C00000000000000"
            "0D000000000000000101"
            "0E000000000000000F000000000000000D00000000000000");
}

TEST(Record, SlotStatesAreEncodedAsTheyWereInTheFirstRelease) {
  EXPECT_EQ(
      Hex(EncodeSlotState(0x3fff, SlotState{1, 2, 3, 4, 5})),
      "01FF3F01000000000000000200000000000000030000000000000004000000000000000500000000"
      "000000");
}

TEST(Record, WhatIsEncodedIsDecoded) {
  ASSERT_OK_AND_ASSIGN(Row row, DecodeRow(EncodeRow(1, FileRow())));
  ExpectSame(row, FileRow());
  ASSERT_OK_AND_ASSIGN(row, DecodeRow(EncodeRow(1, Tombstone())));
  ExpectSame(row, Tombstone());
  ASSERT_OK_AND_ASSIGN(auto slot, DecodeSlotState(EncodeSlotState(9, {1, 2, 3, 4, 5})));
  EXPECT_EQ(slot.floor, 1);
  EXPECT_EQ(slot.fold_seq, 2u);
  EXPECT_EQ(slot.generation, 3u);
  EXPECT_EQ(slot.last_seq, 4u);
  EXPECT_EQ(slot.tombstones, 5);
}

Row RandomRow(std::mt19937_64& random) {
  const auto upto = [&](int64_t limit) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(limit));
  };
  Row row;
  row.seq = random();
  row.epoch = random();
  row.wall_ms = static_cast<int64_t>(random());
  row.version = upto(int64_t{1} << 53) + 1;
  row.deleted = upto(4) == 0;
  row.ops.overflowed = upto(2) == 0;
  for (int64_t i = upto(OpHistory::kOrigins + 1); i > 0; --i) {
    row.ops.entries.push_back({{random(), random()}, upto(1000)});
  }
  if (row.deleted) return row;
  row.meta_seq = random();
  row.expires_at_ms = upto(2) == 0 ? 0 : upto(int64_t{1} << 50);
  row.base_version = upto(row.version);
  row.kind = upto(2) == 0 ? Kind::kOpaque : Kind::kNative;
  row.patch_count = static_cast<int32_t>(upto(1001));
  row.base_bytes = upto(int64_t{1} << 40);
  row.patch_bytes = upto(int64_t{1} << 40);
  if (upto(2) == 0) row.checksum = random();
  if (upto(2) == 0) {
    row.schema =
        arrow::Buffer::FromString(std::string(static_cast<size_t>(upto(500)), 's'));
  }
  constexpr std::array kTypes{Location::Type::kInline, Location::Type::kArena,
                              Location::Type::kFile, Location::Type::kUnread};
  row.base.type = kTypes[static_cast<size_t>(upto(kTypes.size()))];
  row.base.path = std::string(static_cast<size_t>(upto(300)), 'p');
  row.base.file_id = random();
  row.base.stored_bytes = upto(int64_t{1} << 40);
  row.base.foreign = upto(2) == 0;
  return row;
}

TEST(Record, RandomRowsSurviveARoundTrip) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 1000; ++i) {
    const Row row = RandomRow(random);
    ASSERT_OK_AND_ASSIGN(const Row back, DecodeRow(EncodeRow(77, row)));
    ExpectSame(back, row);
  }
}

TEST(Record, ATruncatedRecordIsCorrupt) {
  for (const Row& row : {FileRow(), Tombstone()}) {
    const std::string bytes = EncodeRow(1, row);
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_TRUE(IsError(DecodeRow(bytes.substr(0, size)).status(), ErrorCode::kCorrupt))
          << size;
    }
    EXPECT_TRUE(IsError(DecodeRow(bytes + "x").status(), ErrorCode::kCorrupt));
  }
  const std::string bytes = EncodeSlotState(1, {});
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(
        IsError(DecodeSlotState(bytes.substr(0, size)).status(), ErrorCode::kCorrupt));
  }
}

TEST(Record, DamagedBytesNeverHurt) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = EncodeRow(1, RandomRow(random));
    for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips) {
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << (random() % 8));
    }
    // A flip in a number gives another number; what decodes must encode to the same bytes
    // again.
    if (const auto row = DecodeRow(bytes); row.ok()) {
      uint16_t slot = 0;
      std::memcpy(&slot, bytes.data() + 1, sizeof(slot));
      EXPECT_EQ(Hex(EncodeRow(slot, *row)), Hex(bytes));
    } else {
      EXPECT_TRUE(IsError(row.status(), ErrorCode::kCorrupt)) << row.status();
    }
  }
}

// The next version would be a negative one.
TEST(Record, VersionsThatLeaveNoRoomAreCorrupt) {
  Row row = FileRow();
  row.version = int64_t{1} << 62;
  EXPECT_OK(DecodeRow(EncodeRow(1, row)).status());
  ++row.version;
  EXPECT_TRUE(IsError(DecodeRow(EncodeRow(1, row)).status(), ErrorCode::kCorrupt));
  const auto decoded = [](SlotState state) {
    return DecodeSlotState(EncodeSlotState(1, state)).status();
  };
  EXPECT_OK(decoded({.floor = int64_t{1} << 62, .generation = 1 << 22}));
  EXPECT_TRUE(IsError(decoded({.floor = int64_t{1} << 62 | 1}), ErrorCode::kCorrupt));
  EXPECT_TRUE(IsError(decoded({.generation = 1 << 22 | 1}), ErrorCode::kCorrupt));
}

TEST(Record, ANewerFormatIsRefused) {
  std::string bytes = EncodeRow(1, FileRow());
  bytes[0] = 2;
  const auto row = DecodeRow(bytes);
  EXPECT_TRUE(IsError(row.status(), ErrorCode::kCorrupt));
  EXPECT_NE(row.status().message().find("format 2"), std::string::npos) << row.status();
}

}  // namespace
}  // namespace flame
