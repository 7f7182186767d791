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

/// The one batch of an opaque file. Arrow makes the message's metadata from a batch whose
/// data buffer has the right length but no bytes of its own; the payload's chunks then
/// take that buffer's place.
Result<Frame> OpaqueFrame(const std::shared_ptr<arrow::Schema>& schema,
                          const Payload& payload, Version version) {
  static const uint8_t kNoBytes = 0;  // Never read: Arrow passes buffers on by pointer.
  const auto& data_type = schema->field(1)->type();
  auto versions = arrow::ArrayData::Make(
      arrow::uint64(), 1, {nullptr, Buffer::FromVector(std::vector<int64_t>{version})},
      0);
  auto offsets = data_type->id() == arrow::Type::BINARY
                     ? OffsetsOfOneRow<int32_t>(payload.size())
                     : OffsetsOfOneRow<int64_t>(payload.size());
  auto data = arrow::ArrayData::Make(
      data_type, 1,
      {nullptr, offsets, std::make_shared<Buffer>(&kNoBytes, payload.size())}, 0);
  const auto batch = arrow::RecordBatch::Make(
      schema, 1, std::vector<std::shared_ptr<arrow::ArrayData>>{versions, data});

  Frame frame;
  ARROW_RETURN_NOT_OK(arrow::ipc::GetRecordBatchPayload(*batch, WriteOptions(), &frame));
  ARROW_DCHECK(!frame.body_buffers.empty());
  frame.body_buffers.pop_back();
  for (auto& buffer : Realign(payload.chunks()))
    frame.body_buffers.push_back(std::move(buffer));
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

Result<std::shared_ptr<const Payload>> ReadOwn(Kind kind,
                                               const std::shared_ptr<Buffer>& bytes) {
  arrow::io::BufferReader reader(bytes);
  if (HasMagic(*bytes)) ARROW_RETURN_NOT_OK(reader.Seek(kMagicPadded));
  arrow::ipc::DictionaryMemo memo;
  ARROW_ASSIGN_OR_RAISE(const auto schema, arrow::ipc::ReadSchema(&reader, &memo));
  if (kind == Kind::kNative) {
    ARROW_ASSIGN_OR_RAISE(const int64_t position, reader.Tell());
    // The end-of-stream mark ends the frames; a footer behind it is not looked at.
    return ReadStored(kind, StripReserved(schema), arrow::SliceBuffer(bytes, position));
  }
  ARROW_ASSIGN_OR_RAISE(
      const auto batch,
      arrow::ipc::ReadRecordBatch(schema, &memo, arrow::ipc::IpcReadOptions::Defaults(),
                                  &reader));
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

Status WriteArrowFile(const Payload& payload, Version version, WritableFile* file) {
  FileSink sink(file);
  if (payload.kind() == Kind::kOpaque) {
    const auto schema = OpaqueSchema(payload.size());
    ARROW_ASSIGN_OR_RAISE(Frame frame, OpaqueFrame(schema, payload, version));
    ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::internal::MakePayloadFileWriter(
                                           &sink, schema, WriteOptions()));
    ARROW_RETURN_NOT_OK(WriteFrames(*schema, {std::move(frame)}, writer.get()));
    return sink.Flush();
  }
  const auto schema = DressNative(payload.schema(), version);
  ARROW_ASSIGN_OR_RAISE(const bool needs_stream, ReplacesDictionary(payload.frames()));
  ARROW_ASSIGN_OR_RAISE(
      auto writer,
      needs_stream
          ? arrow::ipc::internal::MakePayloadStreamWriter(&sink, WriteOptions())
          : arrow::ipc::internal::MakePayloadFileWriter(&sink, schema, WriteOptions()));
  ARROW_RETURN_NOT_OK(WriteFrames(*schema, payload.frames(), writer.get()));
  return sink.Flush();
}

Result<std::shared_ptr<const Payload>> ReadArrowFile(
    Kind kind, const std::shared_ptr<Buffer>& bytes) {
  auto payload = ReadOwn(kind, bytes);
  if (!payload.ok()) return AsCorrupt(payload.status());
  return payload;
}

Result<ForeignFile> ReadForeignFile(const std::shared_ptr<Buffer>& bytes) {
  auto file = ReadForeign(bytes);
  if (!file.ok()) return AsCorrupt(file.status());
  return file;
}

}  // namespace flame
