#include "flame/flight/reply.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/testing/gtest_util.h>
#include <arrow/util/key_value_metadata.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using arrow::flight::FlightPayload;

std::shared_ptr<arrow::Buffer> Filled(int64_t size, char with) {
  return arrow::Buffer::FromString(std::string(static_cast<size_t>(size), with));
}

Snapshot Opaque(Chunks base, const std::vector<Chunks>& patches = {}) {
  Snapshot snapshot;
  snapshot.version = 1 + std::ssize(patches);
  snapshot.base_version = 1;
  snapshot.base = Payload::Opaque(std::move(base));
  Version version = 1;
  for (const Chunks& chunks : patches) {
    snapshot.last_patch = std::make_shared<const Patch>(
        Patch{++version, Payload::Opaque(chunks), snapshot.last_patch});
    ++snapshot.patch_count;
  }
  return snapshot;
}

std::vector<FlightPayload> Messages(arrow::flight::FlightDataStream* stream) {
  std::vector<FlightPayload> messages;
  while (true) {
    auto message = stream->Next();
    EXPECT_OK(message.status());
    if (message->ipc_message.metadata == nullptr) return messages;
    messages.push_back(*std::move(message));
  }
}

/// What a client would read.
std::shared_ptr<arrow::Table> Received(const std::shared_ptr<arrow::Schema>& schema,
                                       const std::vector<FlightPayload>& messages) {
  std::vector<Frame> frames;
  for (const auto& message : messages) frames.push_back(message.ipc_message);
  const auto batches = DecodeNative(schema, frames, /*validate=*/true);
  EXPECT_OK(batches.status());
  return *arrow::Table::FromRecordBatches(schema, *batches);
}

std::unique_ptr<arrow::flight::FlightDataStream> Reply(const Snapshot& snapshot,
                                                       const ReplyOptions& options = {}) {
  return *MakeReply(std::make_shared<const Snapshot>(snapshot), options);
}

std::string DataAt(const arrow::Table& table, int64_t row) {
  const auto scalar = *table.GetColumnByName("data")->GetScalar(row);
  return static_cast<const arrow::BinaryScalar&>(*scalar).value->ToString();
}

TEST(ReplyTest, E2_ALargeBaseGoesOutFromTheBufferThatCameIn) {
  const auto chunk = Filled(1 << 20, 'x');
  const auto messages = Messages(Reply(Opaque({chunk})).get());
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].ipc_message.body_buffers.back()->data(), chunk->data());
  EXPECT_EQ(DataAt(*Received(OpaqueReplySchema(), messages), 0), chunk->ToString());
}

TEST(ReplyTest, ChunksOfWholeWordsAreGatheredWithoutACopy) {
  const Chunks chunks{Filled(1 << 20, 'a'), Filled(1 << 20, 'b'), Filled(12345, 'c')};
  const auto messages = Messages(Reply(Opaque(chunks)).get());
  ASSERT_EQ(messages.size(), 1u);
  const auto& buffers = messages[0].ipc_message.body_buffers;
  for (size_t i = 0; i < chunks.size(); ++i) {
    EXPECT_EQ(buffers[buffers.size() - chunks.size() + i]->data(), chunks[i]->data());
  }
  const auto table = Received(OpaqueReplySchema(), messages);
  EXPECT_EQ(table->num_rows(), 1) << "stock clients want the base in one row";
  EXPECT_EQ(DataAt(*table, 0),
            chunks[0]->ToString() + chunks[1]->ToString() + chunks[2]->ToString());
}

TEST(ReplyTest, OddChunksAreJoined) {
  const Chunks chunks{Filled(100'001, 'a'), Filled(100'003, 'b')};
  const auto table = Received(OpaqueReplySchema(), Messages(Reply(Opaque(chunks)).get()));
  EXPECT_EQ(DataAt(*table, 0), chunks[0]->ToString() + chunks[1]->ToString());
}

TEST(ReplyTest, E4_SmallPatchesShareABatch) {
  std::vector<Chunks> patches;
  for (int i = 0; i < 1000; ++i) patches.push_back({Filled(3, 'p')});
  const auto messages = Messages(Reply(Opaque({Filled(10, 'b')}, patches)).get());
  EXPECT_EQ(messages.size(), 1u);
  const auto table = Received(OpaqueReplySchema(), messages);
  EXPECT_EQ(table->num_rows(), 1001);
  EXPECT_EQ(DataAt(*table, 0), std::string(10, 'b'));
  EXPECT_EQ(DataAt(*table, 1000), "ppp");
}

TEST(ReplyTest, AHolderOfTheBaseGetsOnlyNewerPatches) {
  const Snapshot snapshot =
      Opaque({Filled(10, 'b')}, {{Filled(1, '2')}, {Filled(1, '3')}});
  const auto table =
      Received(OpaqueReplySchema(), Messages(Reply(snapshot, {.known = 2}).get()));
  ASSERT_EQ(table->num_rows(), 1);
  EXPECT_EQ(DataAt(*table, 0), "3");
  // A version that was never given out, and one from before the base: everything.
  EXPECT_EQ(Received(OpaqueReplySchema(), Messages(Reply(snapshot, {.known = 9}).get()))
                ->num_rows(),
            3);
}

TEST(ReplyTest, AnEmptyObjectIsOneEmptyRow) {
  for (const Chunks& chunks : {Chunks{}, Chunks{Filled(0, ' ')}}) {
    const auto table =
        Received(OpaqueReplySchema(), Messages(Reply(Opaque(chunks)).get()));
    ASSERT_EQ(table->num_rows(), 1);
    EXPECT_EQ(DataAt(*table, 0), "");
  }
}

TEST(ReplyTest, NotModifiedIsASchemaWithoutTheFormatMark) {
  for (const bool document : {false, true}) {
    const auto stream = MakeNotModifiedReply(7, Kind::kNative, {.document = document});
    EXPECT_TRUE(Messages(stream.get()).empty());
    EXPECT_FALSE(IsNative(*stream->schema()))
        << "stock clients would take it for an empty table";
  }
}

TEST(ReplyTest, StockClientsCannotHaveRowsOver2GiB) {
  // Never touched: only its length counts.
  const auto huge = std::make_shared<arrow::Buffer>(reinterpret_cast<const uint8_t*>(1),
                                                    int64_t{3} << 30);
  const auto snapshot = std::make_shared<const Snapshot>(Opaque({huge}));
  const auto refused = MakeReply(snapshot, {});
  EXPECT_TRUE(IsError(refused.status(), ErrorCode::kTooLarge));
  EXPECT_OK(MakeReply(snapshot, {.document = true}).status());
}

class NativeReplyTest : public ::testing::Test {
 protected:
  static std::shared_ptr<const Payload> Table(int64_t first, int64_t rows) {
    arrow::Int64Builder builder;
    for (int64_t i = 0; i < rows; ++i) EXPECT_OK(builder.Append(first + i));
    return *EncodeNative(kSchema,
                         {arrow::RecordBatch::Make(kSchema, rows, {*builder.Finish()})});
  }
  static inline const auto kSchema = arrow::schema({arrow::field("n", arrow::int64())});

  NativeReplyTest() {
    snapshot_.version = 3;
    snapshot_.base_version = 2;
    snapshot_.base = Table(0, 1000);
    snapshot_.last_patch =
        std::make_shared<const Patch>(Patch{3, Table(1000, 5), nullptr});
    snapshot_.patch_count = 1;
  }
  Snapshot snapshot_;
};

TEST_F(NativeReplyTest, StockClientsGetOneLongerTable) {
  const auto stream = Reply(snapshot_, {.known = 2});
  EXPECT_TRUE(IsNative(*stream->schema()));
  EXPECT_EQ(*stream->schema()->metadata()->Get(kVersionKey), "3");
  EXPECT_EQ(Received(stream->schema(), Messages(stream.get()))->num_rows(), 1005);
}

TEST_F(NativeReplyTest, DocumentTicketsGetOnlyTheNewBatches) {
  const auto stream = Reply(snapshot_, {.known = 2, .document = true});
  EXPECT_EQ(*stream->schema()->metadata()->Get("flame.cache.reply"), "patches");
  const auto messages = Messages(stream.get());
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].app_metadata->ToString(), std::string("\x03\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(Received(stream->schema(), messages)->num_rows(), 5);
}

TEST_F(NativeReplyTest, StoredBuffersGoOutAsTheyAre) {
  const auto messages = Messages(Reply(snapshot_).get());
  EXPECT_EQ(messages[0].ipc_message.body_buffers.back()->data(),
            snapshot_.base->frames()[0].body_buffers.back()->data());
}

TEST_F(NativeReplyTest, CompressionIsOnlyOnRequest) {
  const auto plain = Messages(Reply(snapshot_).get());
  const ReplyOptions options{.document = true, .compression = arrow::Compression::ZSTD};
  const auto stream = Reply(snapshot_, options);
  const auto packed = Messages(stream.get());
  EXPECT_LT(packed[0].ipc_message.body_length, plain[0].ipc_message.body_length);
  EXPECT_EQ(Received(stream->schema(), packed)->num_rows(), 1005);
}

}  // namespace
}  // namespace flame
