#include "flame/storage/arrow_file.h"

#include <charconv>
#include <cstring>
#include <limits>
#include <set>

#include <arrow/array.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/message.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/util/align_util.h>
#include <arrow/util/key_value_metadata.h>
#include <arrow/util/logging.h>
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/object/decoded_size.h"
#include "flame/storage/coding.h"

namespace flame {
namespace {

using arrow::Buffer;
using arrow::Result;
using arrow::Status;

constexpr std::string_view kMagic = "ARROW1";
constexpr int64_t kMagicPadded = 8;

arrow::ipc::IpcWriteOptions WriteOptions() {
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.allow_64bit = true;
  return options;
}

Status Corrupt(std::string_view what) {
  return MakeError(ErrorCode::kCorrupt, std::string(what));
}

/// An error of Arrow's readers is the file's fault. So is a lack of memory: the kernel
/// promises any believable amount, only an absurd claim is refused at once.
Status AsCorrupt(const Status& status) {
  if (status.ok() || DetailOf(status) != nullptr) return status;
  return Corrupt(status.message());
}

// Writing --------------------------------------------------------------------

/// Arrow's many small writes are gathered; payload buffers are written from where they
/// lie.
class FileSink final : public arrow::io::OutputStream {
 public:
  explicit FileSink(WritableFile* file) : file_(file) {}

  Status Write(const void* data, int64_t size) override {
    const std::string_view bytes(static_cast<const char*>(data),
                                 static_cast<size_t>(size));
    position_ += size;
    if (size <= kGatherBelow) {
      gathered_.append(bytes);
      return gathered_.size() < 16 * kGatherBelow ? Status::OK() : Flush();
    }
    const Status status = file_->Write({gathered_, bytes});
    gathered_.clear();
    return status;
  }
  using Writable::Write;
  Status Flush() override {
    if (gathered_.empty()) return Status::OK();
    const Status status = file_->Write({gathered_});
    gathered_.clear();
    return status;
  }
  Status Close() override { return Flush(); }
  bool closed() const override { return false; }
  Result<int64_t> Tell() const override { return position_; }

 private:
  static constexpr int64_t kGatherBelow = 4096;

  WritableFile* const file_;  // Borrowed.
  std::string gathered_;
  int64_t position_ = 0;
};

/// The same bytes in buffers of which all but the last are multiples of 8 long, because
/// Arrow pads each buffer of a message body to 8. Only the few bytes at each seam are
/// copied.
Chunks Realign(const Chunks& chunks) {
  constexpr int64_t kUnit = 8;
  Chunks aligned;
  std::string seam;
  for (const auto& chunk : chunks) {
    if (chunk == nullptr || chunk->size() == 0) continue;
    const std::string_view bytes(*chunk);
    size_t position = 0;
    if (!seam.empty()) {
      position = std::min(kUnit - seam.size(), bytes.size());
      seam.append(bytes.substr(0, position));
      if (seam.size() == kUnit)
        aligned.push_back(Buffer::FromString(std::exchange(seam, {})));
    }
    const int64_t whole =
        (chunk->size() - static_cast<int64_t>(position)) / kUnit * kUnit;
    if (whole > 0) {
      aligned.push_back(arrow::SliceBuffer(chunk, static_cast<int64_t>(position), whole));
      position += static_cast<size_t>(whole);
    }
    seam.append(bytes.substr(position));
  }
  if (!seam.empty()) aligned.push_back(Buffer::FromString(std::move(seam)));
  return aligned;
}

template <typename Offset>
std::shared_ptr<Buffer> OffsetsOfOneRow(int64_t size) {
  return Buffer::FromVector(std::vector<Offset>{0, static_cast<Offset>(size)});
}

/// The one batch of an opaque file, whose bytes are `data`.
std::shared_ptr<arrow::RecordBatch> OpaqueBatch(
    const std::shared_ptr<arrow::Schema>& schema, std::shared_ptr<Buffer> data,
    Version version) {
  const auto& data_type = schema->field(1)->type();
  auto versions = arrow::ArrayData::Make(
      arrow::uint64(), 1, {nullptr, Buffer::FromVector(std::vector<int64_t>{version})},
      0);
  auto offsets = data_type->id() == arrow::Type::BINARY
                     ? OffsetsOfOneRow<int32_t>(data->size())
                     : OffsetsOfOneRow<int64_t>(data->size());
  auto bytes =
      arrow::ArrayData::Make(data_type, 1, {nullptr, offsets, std::move(data)}, 0);
  return arrow::RecordBatch::Make(
      schema, 1, std::vector<std::shared_ptr<arrow::ArrayData>>{versions, bytes});
}

/// Its message. Arrow makes the metadata from a batch whose data buffer has the right
/// length but no bytes of its own; the payload's chunks then take that buffer's place.
Result<Frame> OpaqueFrame(const std::shared_ptr<arrow::Schema>& schema,
                          const Payload& payload, Version version) {
  static const uint8_t kNoBytes = 0;  // Never read: Arrow passes buffers on by pointer.
  const auto batch =
      OpaqueBatch(schema, std::make_shared<Buffer>(&kNoBytes, payload.size()), version);
  Frame frame;
  ARROW_RETURN_NOT_OK(arrow::ipc::GetRecordBatchPayload(*batch, WriteOptions(), &frame));
  ARROW_DCHECK(!frame.body_buffers.empty());
  frame.body_buffers.pop_back();
  for (auto& buffer : Realign(payload.chunks()))
    frame.body_buffers.push_back(std::move(buffer));
  return frame;
}

/// The same, compressed; nullopt when that gains too little.
Result<std::optional<Frame>> CompressedOpaqueFrame(
    const std::shared_ptr<arrow::Schema>& schema, const Payload& payload, Version version,
    const FileCompression& compression) {
  if (!compression.Wants(payload.size())) return std::nullopt;
  auto options = WriteOptions();
  ARROW_ASSIGN_OR_RAISE(options.codec, arrow::util::Codec::Create(compression.codec));
  ARROW_ASSIGN_OR_RAISE(auto data, Contiguous(payload));
  Frame frame;
  ARROW_RETURN_NOT_OK(arrow::ipc::GetRecordBatchPayload(
      *OpaqueBatch(schema, std::move(data), version), options, &frame));
  if (!compression.IsWorthIt(payload.size(), frame.body_length)) return std::nullopt;
  return frame;
}

std::shared_ptr<arrow::Schema> OpaqueSchema(int64_t bytes) {
  const bool small = bytes <= std::numeric_limits<int32_t>::max();
  return arrow::schema(
      {arrow::field("version", arrow::uint64(), /*nullable=*/false),
       arrow::field("data", small ? arrow::binary() : arrow::large_binary(),
                    /*nullable=*/false)});
}

/// True if a dictionary is sent twice and not as an addition: then only a stream can hold
/// the frames.
Result<bool> ReplacesDictionary(const std::vector<Frame>& frames) {
  std::set<int64_t> seen;
  for (const Frame& frame : frames) {
    if (frame.type != arrow::ipc::MessageType::DICTIONARY_BATCH) continue;
    ARROW_ASSIGN_OR_RAISE(const auto message,
                          arrow::ipc::Message::Open(frame.metadata, nullptr));
    ARROW_ASSIGN_OR_RAISE(const auto header, ReadDictionaryHeader(*message));
    if (!seen.insert(header.id).second && !header.is_delta) return true;
  }
  return false;
}

Status WriteFrames(const arrow::Schema& schema, const std::vector<Frame>& frames,
                   arrow::ipc::internal::IpcPayloadWriter* writer) {
  Frame schema_frame;
  ARROW_RETURN_NOT_OK(arrow::ipc::GetSchemaPayload(
      schema, WriteOptions(), arrow::ipc::DictionaryFieldMapper(schema), &schema_frame));
  ARROW_RETURN_NOT_OK(writer->Start());
  ARROW_RETURN_NOT_OK(writer->WritePayload(schema_frame));
  for (const Frame& frame : frames) ARROW_RETURN_NOT_OK(writer->WritePayload(frame));
  return writer->Close();
}

// Reading --------------------------------------------------------------------

bool HasMagic(const Buffer& bytes) { return std::string_view(bytes).starts_with(kMagic); }

/// The column, moved to where its values can be read if a careless program wrote it at an
/// odd place.
Result<std::shared_ptr<arrow::Array>> AlignedColumn(const arrow::RecordBatch& batch,
                                                    int index) {
  return arrow::util::EnsureAlignment(batch.column(index), arrow::util::kValueAlignment,
                                      arrow::default_memory_pool());
}

/// Version and bytes of an opaque batch, by position: names differ between writers.
Result<ForeignFile> OpaqueRow(const arrow::RecordBatch& batch) {
  ARROW_RETURN_NOT_OK(batch.ValidateFull());
  if (batch.num_columns() < 2) return Corrupt("an opaque object needs two columns");
  if (batch.num_rows() != 1) {
    return Corrupt(fmt::format("an opaque object has one row, not {}", batch.num_rows()));
  }
  ARROW_ASSIGN_OR_RAISE(const auto versions, AlignedColumn(batch, 0));
  if (versions->type_id() != arrow::Type::UINT64)
    return Corrupt("its first column is not uint64");
  ForeignFile file;
  if (versions->IsValid(0)) {
    const uint64_t version = static_cast<const arrow::UInt64Array&>(*versions).Value(0);
    if (version <= static_cast<uint64_t>(kMaxStoredVersion)) {
      file.version = static_cast<Version>(version);
    }
  }
  ARROW_ASSIGN_OR_RAISE(const auto data, AlignedColumn(batch, 1));
  const auto slice = [&](const auto& array) {
    if (array.IsNull(0)) return std::make_shared<Buffer>(nullptr, 0);
    return arrow::SliceBuffer(array.value_data(), array.value_offset(0),
                              array.value_length(0));
  };
  if (data->type_id() == arrow::Type::BINARY) {
    file.payload =
        Payload::Opaque({slice(static_cast<const arrow::BinaryArray&>(*data))});
  } else if (data->type_id() == arrow::Type::LARGE_BINARY) {
    file.payload =
        Payload::Opaque({slice(static_cast<const arrow::LargeBinaryArray&>(*data))});
  } else {
    return Corrupt("its second column is not binary");
  }
  return file;
}

/// What a file may inflate to when nobody has noted how large its payload is: a bomb
/// does worse.
constexpr int64_t kMaxInflation = 256;
constexpr int64_t kMayAlwaysInflateTo = int64_t{1} << 30;
/// Beside the payload: the version, offsets, and what pads them.
constexpr int64_t kBesidePayload = 4096;

/// Before anything is allocated for what compressed messages claim to hold.
class Inflation {
 public:
  Inflation(int64_t file_bytes, int64_t stored_bytes)
      // Dictionaries are counted twice: as they come, and as a batch keeps them.
      : most_(stored_bytes > 0
                  ? 2 * stored_bytes + kBesidePayload
                  : std::max(kMayAlwaysInflateTo,
                             std::min(file_bytes, kMayAlwaysInflateTo) * kMaxInflation)) {
  }

  /// True if the message is compressed.
  Result<bool> Add(const arrow::ipc::Message& message) {
    if (const Status added = size_.Add(message); !added.ok())
      return Corrupt(added.message());
    if (!IsCompressed(message)) return false;
    if (size_.bytes() > most_)
      return Corrupt("its compressed buffers claim to hold more than the object has");
    return true;
  }

 private:
  const int64_t most_;
  DecodedSize size_;
};

Result<std::shared_ptr<const Payload>> ReadOwnFrames(
    const std::shared_ptr<arrow::Schema>& schema, const std::shared_ptr<Buffer>& bytes,
    Inflation inflation) {
  // The end-of-stream mark ends the frames; a footer behind it is not looked at.
  ARROW_ASSIGN_OR_RAISE(auto payload, ReadStored(Kind::kNative, schema, bytes));
  bool compressed = false;
  arrow::io::BufferReader messages(bytes);
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto message, arrow::ipc::ReadMessage(&messages));
    if (message == nullptr) break;
    ARROW_ASSIGN_OR_RAISE(const bool is_compressed, inflation.Add(*message));
    compressed = compressed || is_compressed;
  }
  if (!compressed) return payload;
  // The checksum is over what comes of it: nothing may be trusted before.
  ARROW_ASSIGN_OR_RAISE(const auto batches,
                        DecodeNative(schema, payload->frames(), /*validate=*/true));
  return EncodeNative(schema, batches);
}

Result<std::shared_ptr<const Payload>> ReadOwn(Kind kind,
                                               const std::shared_ptr<Buffer>& bytes,
                                               int64_t stored_bytes) {
  Inflation inflation(bytes->size(), stored_bytes);
  arrow::io::BufferReader reader(bytes);
  if (HasMagic(*bytes)) ARROW_RETURN_NOT_OK(reader.Seek(kMagicPadded));
  arrow::ipc::DictionaryMemo memo;
  ARROW_ASSIGN_OR_RAISE(const auto schema, arrow::ipc::ReadSchema(&reader, &memo));
  if (kind == Kind::kNative) {
    ARROW_ASSIGN_OR_RAISE(const int64_t position, reader.Tell());
    return ReadOwnFrames(StripReserved(schema), arrow::SliceBuffer(bytes, position),
                         inflation);
  }
  ARROW_ASSIGN_OR_RAISE(const auto message, arrow::ipc::ReadMessage(&reader));
  if (message == nullptr) return Corrupt("it holds no batch");
  ARROW_RETURN_NOT_OK(inflation.Add(*message).status());
  ARROW_ASSIGN_OR_RAISE(const auto batch, arrow::ipc::ReadRecordBatch(
                                              *message, schema, &memo,
                                              arrow::ipc::IpcReadOptions::Defaults()));
  ARROW_ASSIGN_OR_RAISE(auto file, OpaqueRow(*batch));
  return file.payload;
}

using Batches = std::vector<std::shared_ptr<arrow::RecordBatch>>;

Result<std::pair<std::shared_ptr<arrow::Schema>, Batches>> ReadBatches(
    const std::shared_ptr<Buffer>& bytes) {
  auto input = std::make_shared<arrow::io::BufferReader>(bytes);
  Batches batches;
  if (HasMagic(*bytes)) {
    ARROW_ASSIGN_OR_RAISE(const auto reader,
                          arrow::ipc::RecordBatchFileReader::Open(input));
    for (int i = 0; i < reader->num_record_batches(); ++i) {
      ARROW_ASSIGN_OR_RAISE(auto batch, reader->ReadRecordBatch(i));
      batches.push_back(std::move(batch));
    }
    return std::pair(reader->schema(), std::move(batches));
  }
  ARROW_ASSIGN_OR_RAISE(const auto reader,
                        arrow::ipc::RecordBatchStreamReader::Open(input));
  ARROW_ASSIGN_OR_RAISE(batches, reader->ToRecordBatches());
  return std::pair(reader->schema(), std::move(batches));
}

Version VersionIn(const arrow::Schema& schema) {
  const auto text = schema.metadata()->Get(kVersionKey);
  if (!text.ok()) return 0;
  Version version = 0;
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, version);
  const bool sensible = version > 0 && version <= kMaxStoredVersion;
  return error == std::errc() && stop == end && sensible ? version : 0;
}

Result<ForeignFile> ReadForeign(const std::shared_ptr<Buffer>& bytes) {
  ARROW_ASSIGN_OR_RAISE(auto contents, ReadBatches(bytes));
  const auto& [schema, batches] = contents;
  if (!IsNative(*schema)) {
    if (batches.empty()) return Corrupt("an opaque object has one row, not 0");
    return OpaqueRow(*batches[0]);
  }
  for (const auto& batch : batches) ARROW_RETURN_NOT_OK(batch->ValidateFull());
  ForeignFile file;
  file.version = VersionIn(*schema);
  ARROW_ASSIGN_OR_RAISE(file.payload, EncodeNative(StripReserved(schema), batches));
  return file;
}

}  // namespace

Status WriteArrowFile(const Payload& payload, Version version, WritableFile* file,
                      const FileCompression& compression) {
  FileSink sink(file);
  if (payload.kind() == Kind::kOpaque) {
    const auto schema = OpaqueSchema(payload.size());
    ARROW_ASSIGN_OR_RAISE(auto frame,
                          CompressedOpaqueFrame(schema, payload, version, compression));
    if (!frame) {
      ARROW_ASSIGN_OR_RAISE(frame, OpaqueFrame(schema, payload, version));
    }
    ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::internal::MakePayloadFileWriter(
                                           &sink, schema, WriteOptions()));
    ARROW_RETURN_NOT_OK(WriteFrames(*schema, {*std::move(frame)}, writer.get()));
    return sink.Flush();
  }
  const auto schema = DressNative(payload.schema(), version);
  ARROW_ASSIGN_OR_RAISE(const auto compressed, CompressFrames(payload, compression));
  const std::vector<Frame>& frames = compressed ? *compressed : payload.frames();
  ARROW_ASSIGN_OR_RAISE(const bool needs_stream, ReplacesDictionary(frames));
  ARROW_ASSIGN_OR_RAISE(
      auto writer,
      needs_stream
          ? arrow::ipc::internal::MakePayloadStreamWriter(&sink, WriteOptions())
          : arrow::ipc::internal::MakePayloadFileWriter(&sink, schema, WriteOptions()));
  ARROW_RETURN_NOT_OK(WriteFrames(*schema, frames, writer.get()));
  return sink.Flush();
}

Result<std::shared_ptr<const Payload>> ReadArrowFile(Kind kind,
                                                     const std::shared_ptr<Buffer>& bytes,
                                                     int64_t stored_bytes) {
  auto payload = ReadOwn(kind, bytes, stored_bytes);
  if (!payload.ok()) return AsCorrupt(payload.status());
  return payload;
}

Result<ForeignFile> ReadForeignFile(const std::shared_ptr<Buffer>& bytes) {
  auto file = ReadForeign(bytes);
  if (!file.ok()) return AsCorrupt(file.status());
  return file;
}

}  // namespace flame
