#include "flame/object/decoded_size.h"

#include <arrow/array/builder_dict.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/testing/gtest_util.h>
#include <arrow/util/compression.h>
#include <gtest/gtest.h>

#include <cstring>

#include "flame/base/error.h"
#include "flame/object/payload.h"

namespace flame {
namespace {

using Batches = std::vector<std::shared_ptr<arrow::RecordBatch>>;

std::shared_ptr<arrow::Buffer> Stream(const Batches& batches,
                                      arrow::ipc::IpcWriteOptions options) {
  auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
  auto writer = arrow::ipc::MakeStreamWriter(sink, batches[0]->schema(), options);
  EXPECT_OK(writer.status());
  for (const auto& batch : batches) EXPECT_OK((*writer)->WriteRecordBatch(*batch));
  EXPECT_OK((*writer)->Close());
  return sink->Finish().ValueOrDie();
}

std::shared_ptr<arrow::RecordBatch> Zeros(int64_t count) {
  arrow::Int64Builder builder;
  EXPECT_OK(builder.AppendValues(std::vector<int64_t>(static_cast<size_t>(count))));
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("n", arrow::int64())}),
                                  count, {builder.Finish().ValueOrDie()});
}

/// Batches of one row each, the n-th with a dictionary of n + 1 words of 1000 bytes.
Batches GrowingDictionaries(int count) {
  Batches batches;
  for (int n = 0; n < count; ++n) {
    arrow::StringDictionary32Builder builder;
    for (int word = 0; word <= n; ++word) {
      EXPECT_OK(builder.Append(std::to_string(word) + std::string(1000, 'x')));
    }
    const auto array = builder.Finish().ValueOrDie();
    batches.push_back(arrow::RecordBatch::Make(
        arrow::schema({arrow::field("d", array->type())}), n + 1, {array}));
  }
  return batches;
}

int64_t SizeOf(const std::shared_ptr<arrow::Buffer>& stream) {
  arrow::io::BufferReader reader(stream);
  DecodedSize size;
  while (true) {
    const auto message = arrow::ipc::ReadMessage(&reader).ValueOrDie();
    if (message == nullptr) return size.bytes();
    EXPECT_OK(size.Add(*message));
  }
}

TEST(DecodedSize, PlainDataTakesWhatItHas) {
  const int64_t size =
      SizeOf(Stream({Zeros(1000), Zeros(1000)}, arrow::ipc::IpcWriteOptions::Defaults()));
  EXPECT_GE(size, 16'000);
  EXPECT_LT(size, 16'500);
}

TEST(DecodedSize, CompressedDataTakesWhatItWillHave) {
  for (const auto codec : {arrow::Compression::ZSTD, arrow::Compression::LZ4_FRAME}) {
    auto options = arrow::ipc::IpcWriteOptions::Defaults();
    ASSERT_OK_AND_ASSIGN(options.codec, arrow::util::Codec::Create(codec));
    const auto stream = Stream({Zeros(1 << 20)}, options);
    EXPECT_LT(stream->size(), 1 << 18);
    EXPECT_EQ(SizeOf(stream), 8 << 20);
  }
}

TEST(DecodedSize, EachBatchKeepsTheDictionaryOfItsTime) {
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.emit_dictionary_deltas = true;
  const auto stream = Stream(GrowingDictionaries(100), options);
  EXPECT_LT(stream->size(), 200'000);    // Each word is sent once,
  EXPECT_GT(SizeOf(stream), 4'900'000);  // and kept up to a hundred times.
}

// Found by fuzzing: it was followed to address 0.
TEST(DecodedSize, AMessageWithoutItsHeaderIsRefused) {
  ASSERT_OK_AND_ASSIGN(const auto payload, EncodeNative(Zeros(3)->schema(), {Zeros(3)}));
  const Frame& frame = payload->frames()[0];
  std::string metadata = frame.metadata->ToString();
  int32_t table = 0, to_vtable = 0;
  std::memcpy(&table, metadata.data(), sizeof(table));
  std::memcpy(&to_vtable, metadata.data() + table, sizeof(to_vtable));
  constexpr int kHeaderEntry = 4 + 2 * 2;  // Message.fbs: the third field.
  metadata.replace(static_cast<size_t>(table - to_vtable + kHeaderEntry), 2, 2, '\0');
  ASSERT_OK_AND_ASSIGN(const auto message,
                       arrow::ipc::Message::Open(arrow::Buffer::FromString(metadata),
                                                 arrow::Buffer::FromString("body")));
  ASSERT_EQ(message->type(), arrow::ipc::MessageType::RECORD_BATCH);
  EXPECT_TRUE(IsError(DecodedSize().Add(*message), ErrorCode::kInvalid));
  EXPECT_TRUE(IsError(ReadDictionaryHeader(*message).status(), ErrorCode::kInvalid));
}

TEST(DecodedSize, ATooLargeStreamIsRefusedBeforeItIsDecoded) {
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  ASSERT_OK_AND_ASSIGN(options.codec,
                       arrow::util::Codec::Create(arrow::Compression::ZSTD));
  const auto stream = Stream({Zeros(1 << 20)}, options);
  EXPECT_OK(DecodeIpcStream(stream, 8 << 20).status());
  const auto before = arrow::default_memory_pool()->total_bytes_allocated();
  const auto status = DecodeIpcStream(stream, (8 << 20) - 1).status();
  EXPECT_TRUE(IsError(status, ErrorCode::kTooLarge)) << status;
  EXPECT_LT(arrow::default_memory_pool()->total_bytes_allocated() - before, 100'000);
}

}  // namespace
}  // namespace flame
