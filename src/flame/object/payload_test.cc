#include "flame/object/payload.h"

#include <cstring>
#include <random>

#include <arrow/array.h>
#include <arrow/array/builder_dict.h>
#include <arrow/builder.h>
#include <arrow/io/memory.h>
#include <arrow/record_batch.h>
#include <arrow/testing/gtest_util.h>
#include <arrow/util/key_value_metadata.h>
#include <gtest/gtest.h>

namespace flame {
namespace {

using Batches = std::vector<std::shared_ptr<arrow::RecordBatch>>;

std::shared_ptr<arrow::Array> Dictionary(const std::vector<std::string>& values) {
  arrow::StringDictionary32Builder builder;
  for (const auto& value : values) EXPECT_TRUE(builder.Append(value).ok());
  return *builder.Finish();
}

Batches Sample(const std::shared_ptr<arrow::Schema>& schema) {
  auto numbers = [](std::vector<int64_t> values) {
    arrow::Int64Builder builder;
    EXPECT_TRUE(builder.AppendValues(values).ok());
    return *builder.Finish();
  };
  // Two batches with different dictionaries: the second one replaces the first in the
  // stream.
  return {arrow::RecordBatch::Make(schema, 3,
                                   {numbers({1, 2, 3}), Dictionary({"x", "y", "x"})}),
          arrow::RecordBatch::Make(schema, 2, {numbers({4, 5}), Dictionary({"z", "q"})}),
          arrow::RecordBatch::Make(schema, 0, {numbers({}), Dictionary({})})};
}

std::shared_ptr<arrow::Schema> SampleSchema() {
  return arrow::schema(
      {arrow::field("n", arrow::int64()),
       arrow::field("d", arrow::dictionary(arrow::int32(), arrow::utf8()))},
      arrow::key_value_metadata({{"user", "kept"}, {kLogicalTypeKey, "pyarrow.table"}}));
}

void ExpectSame(const Batches& a, const Batches& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i]->Equals(*b[i])) << i;
}

TEST(PayloadTest, NativeBatchesComeBackAsTheyWere) {
  const auto schema = SampleSchema();
  const auto batches = Sample(schema);
  ASSERT_OK_AND_ASSIGN(auto payload, EncodeNative(schema, batches));
  ASSERT_OK_AND_ASSIGN(auto back, DecodeNative(schema, payload->frames(), true));
  ExpectSame(batches, back);
}

TEST(PayloadTest, TheStoredFormComesBack) {
  const auto schema = SampleSchema();
  ASSERT_OK_AND_ASSIGN(auto payload, EncodeNative(schema, Sample(schema)));
  ASSERT_OK_AND_ASSIGN(auto sink, arrow::io::BufferOutputStream::Create());
  ASSERT_OK(WriteStored(*payload, sink.get()));
  ASSERT_OK_AND_ASSIGN(auto bytes, sink->Finish());
  EXPECT_EQ(bytes->size(), StoredSize(*payload));
  EXPECT_EQ(ChecksumOf(*bytes), ChecksumOf(*payload));
  ASSERT_OK_AND_ASSIGN(auto back, ReadStored(Kind::kNative, schema, bytes));
  ASSERT_OK_AND_ASSIGN(auto batches, DecodeNative(schema, back->frames(), true));
  ExpectSame(Sample(schema), batches);
}

TEST(PayloadTest, AnIpcStreamIsReadableByArrowAndBack) {
  const auto schema = SampleSchema();
  ASSERT_OK_AND_ASSIGN(auto payload, EncodeNative(schema, Sample(schema)));
  ASSERT_OK_AND_ASSIGN(auto bytes, EncodeIpcStream(*DressNative(schema, 7), *payload));
  ASSERT_OK_AND_ASSIGN(auto back, DecodeIpcStream(bytes));
  EXPECT_TRUE(back->schema()->Equals(*schema, /*check_metadata=*/true));
  ASSERT_OK_AND_ASSIGN(auto batches, DecodeNative(schema, back->frames(), true));
  ExpectSame(Sample(schema), batches);
}

TEST(PayloadTest, DressingAddsAndStrippingRemovesOnlyOurEntries) {
  const auto schema = SampleSchema();
  const auto dressed = DressNative(schema, 7);
  EXPECT_TRUE(IsNative(*dressed));
  EXPECT_FALSE(IsNative(*schema));
  EXPECT_EQ(*dressed->metadata()->Get(kVersionKey), "7");
  EXPECT_TRUE(StripReserved(dressed)->Equals(*schema, /*check_metadata=*/true));
}

TEST(PayloadTest, D2_SizeIsOfTheBytesNotOfTheBuffersTheyLieIn) {
  const auto whole = arrow::Buffer::FromString(std::string(1'000'000, 'x'));
  EXPECT_EQ(Payload::Opaque(
                {arrow::SliceBuffer(whole, 10, 100), arrow::SliceBuffer(whole, 500, 1)})
                ->size(),
            101);

  arrow::Int64Builder builder;
  for (int64_t i = 0; i < 1000; ++i) ASSERT_OK(builder.Append(i));
  ASSERT_OK_AND_ASSIGN(auto column, builder.Finish());
  const auto schema = arrow::schema({arrow::field("a", arrow::int64())});
  ASSERT_OK_AND_ASSIGN(auto payload,
                       EncodeNative(schema, {arrow::RecordBatch::Make(
                                                schema, 10, {column->Slice(5, 10)})}));
  EXPECT_LT(payload->size(), 1000);
}

TEST(PayloadTest, EncodingSharesTheColumnsBuffers) {
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < 1000; ++i) ASSERT_OK(builder.Append(i));
  ASSERT_OK_AND_ASSIGN(auto column, builder.Finish());
  const auto schema = arrow::schema({arrow::field("a", arrow::int64())});
  ASSERT_OK_AND_ASSIGN(
      auto payload,
      EncodeNative(schema, {arrow::RecordBatch::Make(schema, 1000, {column})}));
  EXPECT_EQ(payload->frames()[0].body_buffers.back()->data(),
            column->data()->buffers[1]->data());
}

TEST(PayloadTest, ZeroColumnsKeepTheirRowCount) {
  const auto schema = arrow::schema({});
  ASSERT_OK_AND_ASSIGN(
      auto payload,
      EncodeNative(schema, {arrow::RecordBatch::Make(schema, 5, arrow::ArrayVector{})}));
  ASSERT_OK_AND_ASSIGN(auto back, DecodeNative(schema, payload->frames(), true));
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0]->num_rows(), 5);
}

// Found by fuzzing: it would be written again with other lengths than it was read with.
TEST(PayloadTest, AStoredMessageWhoseBodyIsNotPaddedIsRefused) {
  const auto schema = SampleSchema();
  ASSERT_OK_AND_ASSIGN(auto payload, EncodeNative(schema, Sample(schema)));
  Frame frame = payload->frames()[0];
  std::string metadata = frame.metadata->ToString();
  int32_t table = 0, to_vtable = 0;
  std::memcpy(&table, metadata.data(), sizeof(table));
  std::memcpy(&to_vtable, metadata.data() + table, sizeof(to_vtable));
  uint16_t body_length = 0;  // Message.fbs: the fourth field.
  std::memcpy(&body_length, metadata.data() + table - to_vtable + 4 + 2 * 3, 2);
  const int64_t odd = 13;
  std::memcpy(metadata.data() + table + body_length, &odd, sizeof(odd));
  frame.metadata = arrow::Buffer::FromString(metadata);
  frame.body_buffers = {arrow::Buffer::FromString(std::string(13, 'x'))};
  frame.body_length = odd;
  ASSERT_OK_AND_ASSIGN(auto sink, arrow::io::BufferOutputStream::Create());
  ASSERT_OK(WriteStored(*Payload::Native(schema, {frame}), sink.get()));
  ASSERT_OK_AND_ASSIGN(const auto stored, sink->Finish());
  const auto read = ReadStored(Kind::kNative, schema, stored);
  ASSERT_FALSE(read.ok());
  EXPECT_NE(read.status().message().find("padded"), std::string::npos) << read.status();
}

// Goal: bytes from network or disk never crash the decoder. Method: flip random bits of a
// good stream.
TEST(PayloadTest, DamagedStreamsAreRefusedOrReadSafely) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto schema = SampleSchema();
  ASSERT_OK_AND_ASSIGN(auto payload, EncodeNative(schema, Sample(schema)));
  ASSERT_OK_AND_ASSIGN(auto good, EncodeIpcStream(*schema, *payload));
  for (int i = 0; i < 3000; ++i) {
    std::string bad = good->ToString();
    for (int flips = 1 + static_cast<int>(random() % 3); flips > 0; --flips) {
      bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
    }
    (void)DecodeIpcStream(arrow::Buffer::FromString(bad));
  }
}

}  // namespace
}  // namespace flame
