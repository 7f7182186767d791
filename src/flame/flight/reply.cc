#include "flame/flight/reply.h"

#include <cstring>
#include <limits>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/util/key_value_metadata.h>
#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;
using arrow::flight::FlightDataStream;
using arrow::flight::FlightPayload;

// Smaller rows are copied into a batch with their neighbours ...
constexpr int64_t kShareBelow = 64 * 1024;
constexpr int64_t kSharedBatchBytes = 1 << 20;  // ... until it has this size.
constexpr int64_t kMaxStockRow = std::numeric_limits<int32_t>::max();

Result<arrow::ipc::IpcWriteOptions> WriteOptions(const ReplyOptions& reply) {
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  if (reply.compression) {
    ARROW_ASSIGN_OR_RAISE(options.codec, arrow::util::Codec::Create(*reply.compression));
  }
  return options;
}

Result<FlightPayload> SchemaMessage(const arrow::Schema& schema) {
  FlightPayload message;
  ARROW_RETURN_NOT_OK(arrow::ipc::GetSchemaPayload(
      schema, arrow::ipc::IpcWriteOptions::Defaults(),
      arrow::ipc::DictionaryFieldMapper(schema), &message.ipc_message));
  return message;
}

std::shared_ptr<arrow::Buffer> VersionMetadata(Version version) {
  std::string bytes(sizeof(version), '\0');
  std::memcpy(bytes.data(), &version, sizeof(version));
  return arrow::Buffer::FromString(std::move(bytes));
}

const char* ReplyName(const Snapshot& snapshot, const ReplyOptions& options) {
  return IsIncremental(snapshot, options) ? "patches" : "full";
}

/// What document tickets learn from the schema's metadata.
std::vector<std::pair<std::string, std::string>> DocumentMetadata(const char* reply,
                                                                  Kind kind,
                                                                  Version base_version) {
  return {{"flame.cache.reply", reply},
          {"flame.cache.kind", KindName(kind)},
          {"flame.cache.base_version", std::to_string(base_version)}};
}

std::shared_ptr<arrow::Schema> OpaqueSchema(const char* reply, Kind kind, Version version,
                                            Version base_version,
                                            const ReplyOptions& options) {
  if (!options.document) return OpaqueReplySchema();
  auto metadata = std::make_shared<arrow::KeyValueMetadata>();
  for (const auto& [key, value] : DocumentMetadata(reply, kind, base_version)) {
    metadata->Append(key, value);
  }
  metadata->Append(kVersionKey, std::to_string(version));
  return OpaqueReplySchema()->WithMetadata(std::move(metadata));
}

/// One row of an opaque reply.
struct OpaqueRow {
  Version version;
  bool is_base;
  Chunks chunks;
  int64_t bytes;
};

/// Cut `chunks` into runs of at most `limit` bytes, sharing the buffers.
std::vector<OpaqueRow> CutRows(Version version, bool is_base, const Payload& payload,
                               int64_t limit) {
  std::vector<OpaqueRow> rows{{version, is_base, {}, 0}};
  for (const auto& chunk : payload.chunks()) {
    int64_t offset = 0;
    while (offset < chunk->size()) {
      if (rows.back().bytes == limit) rows.push_back({version, is_base, {}, 0});
      const int64_t take = std::min(limit - rows.back().bytes, chunk->size() - offset);
      rows.back().chunks.push_back(arrow::SliceBuffer(chunk, offset, take));
      rows.back().bytes += take;
      offset += take;
    }
  }
  return rows;
}

/// One row as a batch whose data goes out from the chunks themselves. IPC pads every body
/// buffer to 8 bytes, so chunks of such sizes line up as one buffer; others are joined by
/// a copy.
Result<arrow::ipc::IpcPayload> GatherRow(const OpaqueRow& row,
                                         const arrow::ipc::IpcWriteOptions& options) {
  Chunks chunks = row.chunks;
  bool aligned = true;
  for (size_t i = 0; i + 1 < chunks.size(); ++i) aligned &= chunks[i]->size() % 8 == 0;
  if (chunks.size() > 1 && (!aligned || options.codec != nullptr)) {
    ARROW_ASSIGN_OR_RAISE(auto joined, arrow::ConcatenateBuffers(chunks));
    chunks = {std::move(joined)};
  }
  const std::string kind = row.is_base ? "base" : "patch";
  const std::vector<int32_t> kind_offsets{0, static_cast<int32_t>(kind.size())};
  const std::vector<int32_t> data_offsets{0, static_cast<int32_t>(row.bytes)};
  const std::vector<uint64_t> versions{static_cast<uint64_t>(row.version)};
  // The batch's metadata depends on the data's length only: describe a buffer of that
  // length, then send the chunks in its place.
  const auto described =
      chunks.size() == 1 ? chunks[0]
                         : std::make_shared<arrow::Buffer>(
                               chunks.empty() ? nullptr : chunks[0]->data(), row.bytes);
  const auto batch = arrow::RecordBatch::Make(
      OpaqueReplySchema(), 1,
      {std::make_shared<arrow::UInt64Array>(1, arrow::Buffer::FromVector(versions)),
       std::make_shared<arrow::StringArray>(1, arrow::Buffer::FromVector(kind_offsets),
                                            arrow::Buffer::FromString(kind)),
       std::make_shared<arrow::BinaryArray>(1, arrow::Buffer::FromVector(data_offsets),
                                            described)});
  arrow::ipc::IpcPayload message;
  ARROW_RETURN_NOT_OK(arrow::ipc::GetRecordBatchPayload(*batch, options, &message));
  if (chunks.size() > 1) {
    message.body_buffers.pop_back();
    message.body_buffers.insert(message.body_buffers.end(), chunks.begin(), chunks.end());
  }
  return message;
}

Result<arrow::ipc::IpcPayload> SharedBatch(const std::vector<OpaqueRow>& rows,
                                           size_t first, size_t last,
                                           const arrow::ipc::IpcWriteOptions& options) {
  arrow::UInt64Builder versions;
  arrow::StringBuilder kinds;
  arrow::BinaryBuilder data;
  for (size_t i = first; i < last; ++i) {
    ARROW_RETURN_NOT_OK(versions.Append(static_cast<uint64_t>(rows[i].version)));
    ARROW_RETURN_NOT_OK(kinds.Append(rows[i].is_base ? "base" : "patch"));
    ARROW_RETURN_NOT_OK(data.Append(""));
    for (const auto& chunk : rows[i].chunks) {
      ARROW_RETURN_NOT_OK(
          data.ExtendCurrent(chunk->data(), static_cast<int32_t>(chunk->size())));
    }
  }
  ARROW_ASSIGN_OR_RAISE(auto version_array, versions.Finish());
  ARROW_ASSIGN_OR_RAISE(auto kind_array, kinds.Finish());
  ARROW_ASSIGN_OR_RAISE(auto data_array, data.Finish());
  const auto batch =
      arrow::RecordBatch::Make(OpaqueReplySchema(), static_cast<int64_t>(last - first),
                               {version_array, kind_array, data_array});
  arrow::ipc::IpcPayload message;
  ARROW_RETURN_NOT_OK(arrow::ipc::GetRecordBatchPayload(*batch, options, &message));
  return message;
}

class OpaqueStream final : public FlightDataStream {
 public:
  OpaqueStream(std::shared_ptr<arrow::Schema> schema, std::vector<OpaqueRow> rows,
               arrow::ipc::IpcWriteOptions options)
      : schema_(std::move(schema)),
        rows_(std::move(rows)),
        options_(std::move(options)) {}

  std::shared_ptr<arrow::Schema> schema() override { return schema_; }
  Result<FlightPayload> GetSchemaPayload() override { return SchemaMessage(*schema_); }
  Result<FlightPayload> Next() override {
    FlightPayload message;
    if (next_ == rows_.size()) return message;
    if (rows_[next_].bytes >= kShareBelow) {
      ARROW_ASSIGN_OR_RAISE(message.ipc_message, GatherRow(rows_[next_++], options_));
      return message;
    }
    size_t last = next_;
    for (int64_t bytes = 0; last < rows_.size() && rows_[last].bytes < kShareBelow &&
                            bytes < kSharedBatchBytes;
         ++last) {
      bytes += rows_[last].bytes;
    }
    ARROW_ASSIGN_OR_RAISE(message.ipc_message, SharedBatch(rows_, next_, last, options_));
    next_ = last;
    return message;
  }

 private:
  const std::shared_ptr<arrow::Schema> schema_;
  const std::vector<OpaqueRow> rows_;  // Their buffers keep the payloads alive.
  const arrow::ipc::IpcWriteOptions options_;
  size_t next_ = 0;
};

/// The stored messages, one after the other. With compression they are decoded and
/// encoded again.
class NativeStream final : public FlightDataStream {
 public:
  struct Part {
    Version version;
    std::shared_ptr<const Payload> payload;
  };
  NativeStream(std::shared_ptr<arrow::Schema> schema, std::vector<Part> parts,
               bool with_versions)
      : schema_(std::move(schema)),
        parts_(std::move(parts)),
        with_versions_(with_versions) {}

  std::shared_ptr<arrow::Schema> schema() override { return schema_; }
  Result<FlightPayload> GetSchemaPayload() override { return SchemaMessage(*schema_); }
  Result<FlightPayload> Next() override {
    FlightPayload message;
    while (part_ < parts_.size() && frame_ == parts_[part_].payload->frames().size()) {
      ++part_;
      frame_ = 0;
    }
    if (part_ == parts_.size()) return message;
    message.ipc_message = parts_[part_].payload->frames()[frame_++];
    if (with_versions_ &&
        message.ipc_message.type == arrow::ipc::MessageType::RECORD_BATCH) {
      message.app_metadata = VersionMetadata(parts_[part_].version);
    }
    return message;
  }

 private:
  const std::shared_ptr<arrow::Schema> schema_;
  const std::vector<Part> parts_;
  const bool with_versions_;
  size_t part_ = 0;
  size_t frame_ = 0;
};

Result<std::shared_ptr<const Payload>> Compressed(
    const std::shared_ptr<const Payload>& payload,
    const arrow::ipc::IpcWriteOptions& options) {
  if (options.codec == nullptr) return payload;
  ARROW_ASSIGN_OR_RAISE(
      const auto batches,
      DecodeNative(payload->schema(), payload->frames(), /*validate=*/false));
  return EncodeNative(payload->schema(), batches, options.codec);
}

Result<std::unique_ptr<FlightDataStream>> MakeNativeReply(const Snapshot& snapshot,
                                                          const ReplyOptions& options) {
  ARROW_ASSIGN_OR_RAISE(const auto write_options, WriteOptions(options));
  const bool incremental = IsIncremental(snapshot, options);
  std::vector<NativeStream::Part> parts;
  if (!incremental) {
    ARROW_ASSIGN_OR_RAISE(auto base, Compressed(snapshot.base, write_options));
    parts.push_back({snapshot.base_version, std::move(base)});
  }
  for (const Patch* patch : snapshot.PatchesAfter(incremental ? options.known : 0)) {
    ARROW_ASSIGN_OR_RAISE(auto payload, Compressed(patch->payload, write_options));
    parts.push_back({patch->version, std::move(payload)});
  }
  std::vector<std::pair<std::string, std::string>> extra;
  if (options.document) {
    extra = DocumentMetadata(ReplyName(snapshot, options), Kind::kNative,
                             snapshot.base_version);
  }
  return std::make_unique<NativeStream>(
      DressNative(snapshot.base->schema(), snapshot.version, extra), std::move(parts),
      options.document);
}

Result<std::unique_ptr<FlightDataStream>> MakeOpaqueReply(const Snapshot& snapshot,
                                                          const ReplyOptions& options) {
  ARROW_ASSIGN_OR_RAISE(auto write_options, WriteOptions(options));
  const bool incremental = IsIncremental(snapshot, options);
  std::vector<OpaqueRow> rows;
  auto add = [&](Version version, bool is_base, const Payload& payload) -> Status {
    // The document dialect reads several base rows; every other row must be whole.
    const int64_t limit = options.document && is_base ? kMaxBatchBytes : kMaxStockRow;
    if (payload.size() > limit && !(options.document && is_base)) {
      return MakeError(
          ErrorCode::kTooLarge,
          fmt::format("the object has {} bytes and this client's format carries at "
                      "most 2^31-1 in a row; read it with flamepy 0.7 or newer",
                      payload.size()));
    }
    for (OpaqueRow& row : CutRows(version, is_base, payload, limit))
      rows.push_back(std::move(row));
    return Status::OK();
  };
  if (!incremental) ARROW_RETURN_NOT_OK(add(snapshot.base_version, true, *snapshot.base));
  for (const Patch* patch : snapshot.PatchesAfter(incremental ? options.known : 0)) {
    ARROW_RETURN_NOT_OK(add(patch->version, false, *patch->payload));
  }
  return std::make_unique<OpaqueStream>(
      OpaqueSchema(ReplyName(snapshot, options), Kind::kOpaque, snapshot.version,
                   snapshot.base_version, options),
      std::move(rows), std::move(write_options));
}

}  // namespace

const std::shared_ptr<arrow::Schema>& OpaqueReplySchema() {
  static const auto schema =
      arrow::schema({arrow::field("version", arrow::uint64(), /*nullable=*/false),
                     arrow::field("kind", arrow::utf8(), /*nullable=*/false),
                     arrow::field("data", arrow::binary(), /*nullable=*/false)});
  return schema;
}

bool IsIncremental(const Snapshot& snapshot, const ReplyOptions& options) {
  if (snapshot.kind() == Kind::kNative && !options.document) return false;
  return options.known != 0 && snapshot.base_version <= options.known &&
         options.known < snapshot.version;
}

int64_t ReplyBytes(const Snapshot& snapshot, const ReplyOptions& options) {
  if (!IsIncremental(snapshot, options)) return snapshot.bytes;
  int64_t bytes = 0;
  for (const Patch* patch : snapshot.PatchesAfter(options.known))
    bytes += patch->payload->size();
  return bytes;
}

Result<std::unique_ptr<FlightDataStream>> MakeReply(
    std::shared_ptr<const Snapshot> snapshot, const ReplyOptions& options) {
  return snapshot->kind() == Kind::kNative ? MakeNativeReply(*snapshot, options)
                                           : MakeOpaqueReply(*snapshot, options);
}

std::unique_ptr<FlightDataStream> MakeNotModifiedReply(Version version, Kind kind,
                                                       const ReplyOptions& options) {
  return std::make_unique<OpaqueStream>(
      OpaqueSchema("not-modified", kind, version, 0, options), std::vector<OpaqueRow>{},
      arrow::ipc::IpcWriteOptions::Defaults());
}

}  // namespace flame
