#include "flame/storage/arrow_file.h"

#include <gtest/gtest.h>

#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>
#include <arrow/testing/gtest_util.h>
#include <arrow/util/key_value_metadata.h>

#include "flame/base/error.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

using arrow::Buffer;

class ArrowFileTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK_AND_ASSIGN(files_, OpenFileSystem(dir_.path())); }

  std::shared_ptr<Buffer> Written(const Payload& payload, Version version) {
    auto file = files_->Create("file").ValueOrDie();
    ARROW_EXPECT_OK(WriteArrowFile(payload, version, file.get()));
    ARROW_EXPECT_OK(file->Close());
    auto bytes = files_->ReadAll("file").ValueOrDie();
    ARROW_EXPECT_OK(files_->Unlink("file"));
    return bytes;
  }

  TempDirectory dir_;
  std::unique_ptr<FileSystem> files_;
};

std::shared_ptr<arrow::Array> Strings(const std::vector<std::string>& values) {
  arrow::StringBuilder builder;
  ARROW_EXPECT_OK(builder.AppendValues(values));
  return builder.Finish().ValueOrDie();
}

std::shared_ptr<arrow::RecordBatch> Categories(
    const std::vector<std::string>& dictionary) {
  arrow::Int8Builder indices;
  for (int i = 0; i < 3; ++i) {
    ARROW_EXPECT_OK(
        indices.Append(static_cast<int8_t>(i % static_cast<int>(dictionary.size()))));
  }
  const auto type = arrow::dictionary(arrow::int8(), arrow::utf8());
  const auto column = arrow::DictionaryArray::FromArrays(
                          type, indices.Finish().ValueOrDie(), Strings(dictionary))
                          .ValueOrDie();
  return arrow::RecordBatch::Make(
      arrow::schema({arrow::field("c", type)},
                    arrow::key_value_metadata({"mine"}, {"kept"})),
      3, {column});
}

std::shared_ptr<const Payload> Native(
    const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches) {
  return EncodeNative(batches[0]->schema(), batches).ValueOrDie();
}

std::string TextOf(const Payload& opaque) {
  return Contiguous(opaque).ValueOrDie()->ToString();
}

// Found by fuzzing: a program that does not align its messages.
TEST_F(ArrowFileTest, AFileWhoseValuesLieAtOddAddressesIsRead) {
  const auto bytes = Written(*Payload::Opaque({Buffer::FromString("some bytes")}), 7);
  const auto moved = Buffer::FromString("1234" + bytes->ToString());
  const auto odd = arrow::SliceBuffer(moved, 4);
  ASSERT_OK_AND_ASSIGN(const auto own, ReadArrowFile(Kind::kOpaque, odd));
  EXPECT_EQ(TextOf(*own), "some bytes");
  ASSERT_OK_AND_ASSIGN(const auto foreign, ReadForeignFile(odd));
  EXPECT_EQ(TextOf(*foreign.payload), "some bytes");
  EXPECT_EQ(foreign.version, 7);
}

TEST_F(ArrowFileTest, AnOpaqueFileIsWhatOtherProgramsExpect) {
  const auto payload = Payload::Opaque({Buffer::FromString("some bytes")});
  const auto bytes = Written(*payload, 7);
  ASSERT_OK_AND_ASSIGN(auto reader,
                       arrow::ipc::RecordBatchFileReader::Open(
                           std::make_shared<arrow::io::BufferReader>(bytes)));
  EXPECT_EQ(reader->schema()->ToString(),
            "version: uint64 not null\ndata: binary not null");
  ASSERT_EQ(reader->num_record_batches(), 1);
  ASSERT_OK_AND_ASSIGN(auto batch, reader->ReadRecordBatch(0));
  ASSERT_OK(batch->ValidateFull());
  ASSERT_EQ(batch->num_rows(), 1);
  EXPECT_EQ(static_cast<const arrow::UInt64Array&>(*batch->column(0)).Value(0), 7u);
  EXPECT_EQ(static_cast<const arrow::BinaryArray&>(*batch->column(1)).GetView(0),
            "some bytes");
}

TEST_F(ArrowFileTest, E3_ChunksOfAnyLengthAreGatheredWithoutConcatenation) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    Chunks chunks;
    for (uint64_t i = random() % 6; i > 0; --i) {
      std::string text(random() % (round % 2 == 0 ? 20 : 20'000), '\0');
      for (char& c : text) c = static_cast<char>(random());
      chunks.push_back(Buffer::FromString(std::move(text)));
    }
    const auto payload = Payload::Opaque(std::move(chunks));
    const auto bytes = Written(*payload, round);
    ASSERT_OK_AND_ASSIGN(auto own, ReadArrowFile(Kind::kOpaque, bytes));
    EXPECT_EQ(TextOf(*own), TextOf(*payload));
    EXPECT_EQ(ChecksumOf(*own), ChecksumOf(*payload));
    ASSERT_OK_AND_ASSIGN(auto foreign, ReadForeignFile(bytes));
    EXPECT_EQ(TextOf(*foreign.payload), TextOf(*payload));
    EXPECT_EQ(foreign.version, round);
  }
}

TEST_F(ArrowFileTest, ReadingSharesTheFilesBytes) {
  const auto bytes =
      Written(*Payload::Opaque({Buffer::FromString(std::string(100, 'x'))}), 1);
  ASSERT_OK_AND_ASSIGN(auto payload, ReadArrowFile(Kind::kOpaque, bytes));
  EXPECT_GE(payload->chunks()[0]->data(), bytes->data());
  EXPECT_LT(payload->chunks()[0]->data(), bytes->data() + bytes->size());
}

TEST_F(ArrowFileTest, ANativeFileIsWhatOtherProgramsExpect) {
  const auto payload = Native({Categories({"a", "b"}), Categories({"a", "b"})});
  const auto bytes = Written(*payload, 9);
  ASSERT_OK_AND_ASSIGN(auto reader,
                       arrow::ipc::RecordBatchFileReader::Open(
                           std::make_shared<arrow::io::BufferReader>(bytes)));
  EXPECT_TRUE(IsNative(*reader->schema()));
  EXPECT_EQ(*reader->schema()->metadata()->Get(kVersionKey), "9");
  EXPECT_EQ(*reader->schema()->metadata()->Get("mine"), "kept");
  ASSERT_EQ(reader->num_record_batches(), 2);
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(auto batch, reader->ReadRecordBatch(i));
    ASSERT_OK(batch->ValidateFull());
    EXPECT_TRUE(batch->Equals(*Categories({"a", "b"})));
  }
  ASSERT_OK_AND_ASSIGN(auto own, ReadArrowFile(Kind::kNative, bytes));
  EXPECT_EQ(ChecksumOf(*own), ChecksumOf(*payload));
  EXPECT_TRUE(own->schema()->Equals(*payload->schema(), /*check_metadata=*/true));
}

TEST_F(ArrowFileTest, AReplacedDictionaryMakesTheFileAStream) {
  const auto payload = Native({Categories({"a", "b"}), Categories({"c", "d"})});
  const auto bytes = Written(*payload, 9);
  EXPECT_NE(std::string_view(*bytes).substr(0, 6), "ARROW1");
  ASSERT_OK_AND_ASSIGN(auto own, ReadArrowFile(Kind::kNative, bytes));
  EXPECT_EQ(ChecksumOf(*own), ChecksumOf(*payload));
  ASSERT_OK_AND_ASSIGN(auto foreign, ReadForeignFile(bytes));
  EXPECT_EQ(foreign.version, 9);
  ASSERT_OK_AND_ASSIGN(auto batches, DecodeNative(foreign.payload->schema(),
                                                  foreign.payload->frames(), true));
  EXPECT_TRUE(batches[1]->Equals(*Categories({"c", "d"})));
}

TEST_F(ArrowFileTest, A10_ADamagedFileIsAnErrorWhateverItsDamage) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (const auto& payload :
       {Payload::Opaque({Buffer::FromString(std::string(300, 'x'))}),
        Native({Categories({"a", "b"}), Categories({"a", "b"})})}) {
    const std::string whole = Written(*payload, 3)->ToString();
    for (int round = 0; round < 3000; ++round) {
      std::string bytes = whole;
      if (round % 3 == 0) bytes.resize(random() % bytes.size());
      for (int flips = static_cast<int>(random() % 8); flips > 0 && !bytes.empty();
           --flips) {
        bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      // Whatever comes back is valid or an error; sanitizers watch.
      const auto buffer = Buffer::FromString(bytes);
      if (const auto own = ReadArrowFile(payload->kind(), buffer); own.ok()) {
        ChecksumOf(**own);
      }
      const auto foreign = ReadForeignFile(buffer);
      if (!foreign.ok()) {
        EXPECT_FALSE(foreign.status().message().empty());
      }
    }
  }
}

}  // namespace
}  // namespace flame
