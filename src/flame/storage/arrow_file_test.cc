#include "flame/storage/arrow_file.h"

#include <gtest/gtest.h>

#include <cstring>
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

  std::shared_ptr<Buffer> Written(const Payload& payload, Version version,
                                  const FileCompression& compression = {}) {
    auto file = files_->Create("file").ValueOrDie();
    ARROW_EXPECT_OK(WriteArrowFile(payload, version, file.get(), compression));
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

const FileCompression kZstd{arrow::Compression::ZSTD, 0, 0.1};
const FileCompression kLz4{arrow::Compression::LZ4_FRAME, 0, 0.1};

std::shared_ptr<const Payload> Repetitive(int64_t bytes) {
  // In two chunks, as an upload may bring it.
  const auto text = Buffer::FromString(std::string(static_cast<size_t>(bytes), 'r'));
  return Payload::Opaque(
      {arrow::SliceBuffer(text, 0, bytes / 3), arrow::SliceBuffer(text, bytes / 3)});
}

std::shared_ptr<arrow::RecordBatch> Column(int64_t rows) {
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < rows; ++i)
    ARROW_EXPECT_OK(i % 7 == 0 ? builder.AppendNull() : builder.Append(i % 5));
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("n", arrow::int64())}),
                                  rows, {builder.Finish().ValueOrDie()});
}

// Goal: what is compressed is read by our reader, by the one for other programs' files,
// and by Arrow's, to the same bytes and the same checksum.
TEST_F(ArrowFileTest, CompressedFilesAreReadByEveryReader) {
  for (const auto& compression : {kZstd, kLz4}) {
    for (const auto& payload :
         {Repetitive(300'000), Native({Column(50'000), Column(0), Column(50'000)}),
          Native({Categories({"a", std::string(9'000, 'b')}),
                  Categories({"c", std::string(9'000, 'd')})})}) {
      const auto bytes = Written(*payload, 9, compression);
      EXPECT_LT(bytes->size(), StoredSize(*payload) / 3);
      ASSERT_OK_AND_ASSIGN(auto own,
                           ReadArrowFile(payload->kind(), bytes, StoredSize(*payload)));
      EXPECT_EQ(own->size(), payload->size());
      EXPECT_EQ(ChecksumOf(*own), ChecksumOf(*payload));
      ASSERT_OK_AND_ASSIGN(own, ReadArrowFile(payload->kind(), bytes));
      EXPECT_EQ(ChecksumOf(*own), ChecksumOf(*payload));
      ASSERT_OK_AND_ASSIGN(auto foreign, ReadForeignFile(bytes));
      EXPECT_EQ(ChecksumOf(*foreign.payload), ChecksumOf(*payload));
      EXPECT_EQ(foreign.version, 9);
    }
  }
}

TEST_F(ArrowFileTest, WhatGainsTooLittleIsWrittenAsItIs) {
  std::string noise(100'000, '\0');
  std::mt19937_64 random(1);
  for (char& c : noise) c = static_cast<char>(random());
  arrow::Int64Builder builder;
  for (int i = 0; i < 10'000; ++i)
    ASSERT_OK(builder.Append(static_cast<int64_t>(random())));
  const auto column =
      arrow::RecordBatch::Make(arrow::schema({arrow::field("n", arrow::int64())}), 10'000,
                               {builder.Finish().ValueOrDie()});
  for (const auto& payload : {Payload::Opaque({Buffer::FromString(noise)}),
                              Native({column}), Payload::Opaque({})}) {
    const auto plain = Written(*payload, 3);
    EXPECT_TRUE(Written(*payload, 3, kZstd)->Equals(*plain));
    EXPECT_TRUE(Written(*payload, 3, kLz4)->Equals(*plain));
  }
}

TEST_F(ArrowFileTest, WhatIsSmallIsWrittenAsItIs) {
  FileCompression compression = kZstd;
  compression.min_size = 1001;
  const auto plain = Written(*Repetitive(1000), 3);
  EXPECT_TRUE(Written(*Repetitive(1000), 3, compression)->Equals(*plain));
  compression.min_size = 1000;
  EXPECT_LT(Written(*Repetitive(1000), 3, compression)->size(), plain->size());
}

// Goal: a file that claims to hold more than the object has is refused before memory is
// taken for it.
TEST_F(ArrowFileTest, A10_ABombIsRefused) {
  constexpr int64_t kBytes = 64 << 20;
  for (const auto& payload : {Repetitive(kBytes), Native({Column(kBytes / 8)})}) {
    const auto bytes = Written(*payload, 3, kZstd);
    ASSERT_LT(bytes->size(), kBytes / 10);
    const int64_t before = arrow::default_memory_pool()->max_memory();
    const auto read = ReadArrowFile(payload->kind(), bytes, 1'000'000);
    ASSERT_TRUE(IsError(read.status(), ErrorCode::kCorrupt)) << read.status();
    EXPECT_EQ(arrow::default_memory_pool()->max_memory(), before);
  }
  // Or any size at all, when nobody has noted one.
  const std::string whole = Written(*Repetitive(kBytes), 3, kZstd)->ToString();
  // The length lies before the frame that it is about.
  const size_t at =
      whole.find(std::string(reinterpret_cast<const char*>(&kBytes), sizeof(kBytes)) +
                 "\x28\xb5\x2f\xfd");
  ASSERT_NE(at, whole.npos);
  for (const int64_t claim : {int64_t{2} << 40, int64_t{-2}, int64_t{1} << 62}) {
    std::string bytes = whole;
    std::memcpy(bytes.data() + at, &claim, sizeof(claim));
    const auto read = ReadArrowFile(Kind::kOpaque, Buffer::FromString(bytes));
    ASSERT_TRUE(IsError(read.status(), ErrorCode::kCorrupt)) << read.status();
  }
}

TEST_F(ArrowFileTest, A10_ADamagedCompressedFileIsAnErrorWhateverItsDamage) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (const auto& payload : {Repetitive(3000), Native({Column(300), Column(300)})}) {
    const auto written = Written(*payload, 3, kZstd);
    const std::string whole = written->ToString();
    for (int round = 0; round < 3000; ++round) {
      std::string bytes = whole;
      if (round % 3 == 0) bytes.resize(random() % bytes.size());
      for (uint64_t flips = random() % 8; flips > 0 && !bytes.empty(); --flips)
        bytes[random() % bytes.size()] = static_cast<char>(random());
      const auto own =
          ReadArrowFile(payload->kind(), Buffer::FromString(bytes), StoredSize(*payload));
      if (own.ok()) ChecksumOf(**own);
    }
  }
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
