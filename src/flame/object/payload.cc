#include "flame/object/payload.h"

#include <xxhash.h>

#include <arrow/array.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/message.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/key_value_metadata.h>
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/object/decoded_size.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;

arrow::ipc::IpcWriteOptions WriteOptions() {
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.allow_64bit = true;
  return options;
}

int64_t SizeOf(const Chunks& chunks) {
  int64_t size = 0;
  for (const auto& chunk : chunks) {
    if (chunk != nullptr) size += chunk->size();
  }
  return size;
}

/// Collects what Arrow's stream writer would send.
class FrameCollector final : public arrow::ipc::internal::IpcPayloadWriter {
 public:
  explicit FrameCollector(std::vector<Frame>* frames) : frames_(frames) {}
  Status WritePayload(const Frame& frame) override {
    if (frame.type != arrow::ipc::MessageType::SCHEMA) frames_->push_back(frame);
    return Status::OK();
  }
  Status Close() override { return Status::OK(); }

 private:
  std::vector<Frame>* frames_;
};

Frame FrameOf(const arrow::ipc::Message& message) {
  Frame frame;
  frame.type = message.type();
  frame.metadata = message.metadata();
  if (message.body() != nullptr && message.body()->size() > 0) {
    frame.body_buffers.push_back(message.body());
  }
  frame.body_length = message.body_length();
  frame.raw_body_length = frame.body_length;
  return frame;
}

/// The frames as a stream of messages, for Arrow's reader.
class FrameMessages final : public arrow::ipc::MessageReader {
 public:
  FrameMessages(std::shared_ptr<arrow::Schema> schema, const std::vector<Frame>& frames)
      : schema_(std::move(schema)), frames_(frames) {}

  Result<std::unique_ptr<arrow::ipc::Message>> ReadNextMessage() override {
    if (!schema_sent_) {
      schema_sent_ = true;
      Frame frame;
      ARROW_RETURN_NOT_OK(arrow::ipc::GetSchemaPayload(
          *schema_, WriteOptions(), arrow::ipc::DictionaryFieldMapper(*schema_), &frame));
      return arrow::ipc::Message::Open(frame.metadata, nullptr);
    }
    if (next_ == frames_.size()) return nullptr;
    const Frame& frame = frames_[next_++];
    std::shared_ptr<arrow::Buffer> body;
    if (frame.body_buffers.size() == 1 &&
        frame.body_buffers[0]->size() == frame.body_length) {
      body = frame.body_buffers[0];
    } else {
      ARROW_ASSIGN_OR_RAISE(body, Gather(frame));
    }
    return arrow::ipc::Message::Open(frame.metadata, body);
  }

 private:
  static Result<std::shared_ptr<arrow::Buffer>> Gather(const Frame& frame) {
    ARROW_ASSIGN_OR_RAISE(auto sink,
                          arrow::io::BufferOutputStream::Create(frame.body_length));
    static constexpr uint8_t kPadding[8] = {};
    for (const auto& buffer : frame.body_buffers) {
      if (buffer == nullptr || buffer->size() == 0) continue;
      ARROW_RETURN_NOT_OK(sink->Write(buffer->data(), buffer->size()));
      ARROW_RETURN_NOT_OK(sink->Write(kPadding, (8 - buffer->size() % 8) % 8));
    }
    return sink->Finish();
  }

  std::shared_ptr<arrow::Schema> schema_;
  const std::vector<Frame>& frames_;  // Borrowed; outlives the reader.
  size_t next_ = 0;
  bool schema_sent_ = false;
};

/// Hashes what is written and forgets it.
class HashingSink final : public arrow::io::OutputStream {
 public:
  HashingSink() : state_(XXH3_createState()) { XXH3_64bits_reset(state_); }
  ~HashingSink() override { XXH3_freeState(state_); }
  Status Write(const void* data, int64_t size) override {
    XXH3_64bits_update(state_, data, static_cast<size_t>(size));
    position_ += size;
    return Status::OK();
  }
  using Writable::Write;
  Status Close() override { return Status::OK(); }
  bool closed() const override { return false; }
  Result<int64_t> Tell() const override { return position_; }
  uint64_t digest() const { return XXH3_64bits_digest(state_); }

 private:
  XXH3_state_t* state_;
  int64_t position_ = 0;
};

Result<std::vector<Frame>> ReadFrames(arrow::io::InputStream* stream) {
  std::vector<Frame> frames;
  while (true) {
    ARROW_ASSIGN_OR_RAISE(auto message, arrow::ipc::ReadMessage(stream));
    if (message == nullptr) return frames;
    // Otherwise what is written again would be longer than StoredSize says.
    if (message->body_length() % 8 != 0) {
      return Status::Invalid("a message body of ", message->body_length(),
                             " bytes is not padded to 8");
    }
    frames.push_back(FrameOf(*message));
  }
}

Status CheckDecodedSize(const std::shared_ptr<arrow::Buffer>& stream, int64_t max_bytes) {
  arrow::io::BufferReader reader(stream);
  DecodedSize size;
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto message, arrow::ipc::ReadMessage(&reader));
    if (message == nullptr) return Status::OK();
    ARROW_RETURN_NOT_OK(size.Add(*message));
    if (size.bytes() > max_bytes) {
      return MakeError(
          ErrorCode::kTooLarge,
          fmt::format("the Arrow data would take {} bytes or more, the most is {}",
                      size.bytes(), max_bytes));
    }
  }
}

}  // namespace

const char* KindName(Kind kind) { return kind == Kind::kOpaque ? "opaque" : "native"; }

std::shared_ptr<const Payload> Payload::Opaque(Chunks chunks) {
  auto payload = std::shared_ptr<Payload>(new Payload);
  payload->kind_ = Kind::kOpaque;
  std::erase(chunks, nullptr);
  payload->chunks_ = std::move(chunks);
  payload->size_ = SizeOf(payload->chunks_);
  return payload;
}

std::shared_ptr<const Payload> Payload::Native(std::shared_ptr<arrow::Schema> schema,
                                               std::vector<Frame> frames) {
  auto payload = std::shared_ptr<Payload>(new Payload);
  payload->kind_ = Kind::kNative;
  payload->schema_ = std::move(schema);
  payload->frames_ = std::move(frames);
  for (const Frame& frame : payload->frames_) {
    payload->size_ += frame.metadata->size() + SizeOf(frame.body_buffers);
  }
  return payload;
}

bool IsNative(const arrow::Schema& schema) {
  if (schema.metadata() == nullptr) return false;
  const auto format = schema.metadata()->Get(kFormatKey);
  return format.ok() && *format == kNativeFormat;
}

std::shared_ptr<arrow::Schema> StripReserved(
    const std::shared_ptr<arrow::Schema>& schema) {
  if (schema->metadata() == nullptr) return schema;
  auto kept = std::make_shared<arrow::KeyValueMetadata>();
  for (int64_t i = 0; i < schema->metadata()->size(); ++i) {
    const std::string& key = schema->metadata()->key(i);
    if (!key.starts_with(kReservedPrefix) || key == kLogicalTypeKey) {
      kept->Append(key, schema->metadata()->value(i));
    }
  }
  return schema->WithMetadata(kept->size() > 0 ? kept : nullptr);
}

std::shared_ptr<arrow::Schema> DressNative(
    const std::shared_ptr<arrow::Schema>& schema, int64_t version,
    const std::vector<std::pair<std::string, std::string>>& extra) {
  auto metadata = schema->metadata() != nullptr
                      ? schema->metadata()->Copy()
                      : std::make_shared<arrow::KeyValueMetadata>();
  metadata->Append(kFormatKey, kNativeFormat);
  metadata->Append(kVersionKey, std::to_string(version));
  for (const auto& [key, value] : extra) metadata->Append(key, value);
  return schema->WithMetadata(std::move(metadata));
}

Result<std::shared_ptr<const Payload>> EncodeNative(
    const std::shared_ptr<arrow::Schema>& schema,
    const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches,
    std::shared_ptr<arrow::util::Codec> codec) {
  std::vector<Frame> frames;
  auto options = WriteOptions();
  options.codec = std::move(codec);
  ARROW_ASSIGN_OR_RAISE(auto writer,
                        arrow::ipc::internal::OpenRecordBatchWriter(
                            std::make_unique<FrameCollector>(&frames), schema, options));
  for (const auto& batch : batches) ARROW_RETURN_NOT_OK(writer->WriteRecordBatch(*batch));
  ARROW_RETURN_NOT_OK(writer->Close());
  return Payload::Native(schema, std::move(frames));
}

Result<std::vector<std::shared_ptr<arrow::RecordBatch>>> DecodeNative(
    const std::shared_ptr<arrow::Schema>& schema, const std::vector<Frame>& frames,
    bool validate) {
  ARROW_ASSIGN_OR_RAISE(auto reader,
                        arrow::ipc::RecordBatchStreamReader::Open(
                            std::make_unique<FrameMessages>(schema, frames)));
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  while (true) {
    std::shared_ptr<arrow::RecordBatch> batch;
    ARROW_RETURN_NOT_OK(reader->ReadNext(&batch));
    if (batch == nullptr) return batches;
    if (validate) ARROW_RETURN_NOT_OK(batch->ValidateFull());
    batches.push_back(std::move(batch));
  }
}

Result<std::shared_ptr<arrow::Buffer>> EncodeSchema(const arrow::Schema& schema) {
  return arrow::ipc::SerializeSchema(schema);
}

Result<std::shared_ptr<arrow::Schema>> DecodeSchema(
    const std::shared_ptr<arrow::Buffer>& bytes) {
  arrow::io::BufferReader reader(bytes);
  arrow::ipc::DictionaryMemo memo;
  return arrow::ipc::ReadSchema(&reader, &memo);
}

int64_t StoredSize(const Payload& payload) {
  if (payload.kind() == Kind::kOpaque) return payload.size();
  int64_t size = 0;
  for (const Frame& frame : payload.frames()) {
    size += arrow::ipc::GetPayloadSize(frame, WriteOptions());
  }
  return size;
}

Status WriteStored(const Payload& payload, arrow::io::OutputStream* sink) {
  for (const auto& chunk : payload.chunks()) ARROW_RETURN_NOT_OK(sink->Write(chunk));
  for (const Frame& frame : payload.frames()) {
    int32_t metadata_length = 0;
    ARROW_RETURN_NOT_OK(
        arrow::ipc::WriteIpcPayload(frame, WriteOptions(), sink, &metadata_length));
  }
  return Status::OK();
}

Result<std::shared_ptr<const Payload>> ReadStored(
    Kind kind, const std::shared_ptr<arrow::Schema>& schema,
    const std::shared_ptr<arrow::Buffer>& bytes) {
  if (kind == Kind::kOpaque) return Payload::Opaque({bytes});
  arrow::io::BufferReader reader(bytes);
  ARROW_ASSIGN_OR_RAISE(auto frames, ReadFrames(&reader));
  return Payload::Native(schema, std::move(frames));
}

Result<std::shared_ptr<arrow::Buffer>> EncodeIpcStream(const arrow::Schema& schema,
                                                       const Payload& payload) {
  ARROW_ASSIGN_OR_RAISE(auto sink,
                        arrow::io::BufferOutputStream::Create(payload.size() + 1024));
  Frame schema_frame;
  ARROW_RETURN_NOT_OK(arrow::ipc::GetSchemaPayload(
      schema, WriteOptions(), arrow::ipc::DictionaryFieldMapper(schema), &schema_frame));
  int32_t metadata_length = 0;
  ARROW_RETURN_NOT_OK(arrow::ipc::WriteIpcPayload(schema_frame, WriteOptions(),
                                                  sink.get(), &metadata_length));
  ARROW_RETURN_NOT_OK(WriteStored(payload, sink.get()));
  static constexpr uint8_t kEndOfStream[8] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};
  ARROW_RETURN_NOT_OK(sink->Write(kEndOfStream, sizeof(kEndOfStream)));
  return sink->Finish();
}

Result<std::shared_ptr<const Payload>> DecodeIpcStream(
    const std::shared_ptr<arrow::Buffer>& bytes, int64_t max_bytes) {
  ARROW_RETURN_NOT_OK(CheckDecodedSize(bytes, max_bytes));
  auto input = std::make_shared<arrow::io::BufferReader>(bytes);
  ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ipc::RecordBatchStreamReader::Open(input));
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  while (true) {
    std::shared_ptr<arrow::RecordBatch> batch;
    ARROW_RETURN_NOT_OK(reader->ReadNext(&batch));
    if (batch == nullptr) break;
    ARROW_RETURN_NOT_OK(batch->ValidateFull());
    batches.push_back(std::move(batch));
  }
  return EncodeNative(StripReserved(reader->schema()), batches);
}

Result<std::shared_ptr<arrow::Buffer>> Contiguous(const Payload& opaque) {
  const Chunks& chunks = opaque.chunks();
  if (chunks.empty()) return std::make_shared<arrow::Buffer>(nullptr, 0);
  if (chunks.size() == 1) return chunks[0];
  return arrow::ConcatenateBuffers(chunks);
}

uint64_t ChecksumOf(const Payload& payload) {
  HashingSink sink;
  // A hashing sink never fails.
  ARROW_UNUSED(WriteStored(payload, &sink));
  return sink.digest();
}

uint64_t ChecksumOf(const arrow::Buffer& stored) {
  return XXH3_64bits(stored.data(), static_cast<size_t>(stored.size()));
}

}  // namespace flame
