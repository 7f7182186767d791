#include "flame/flight/upload.h"

#include <unordered_set>

#include <arrow/array.h>
#include <arrow/device.h>
#include <arrow/record_batch.h>
#include <arrow/util/align_util.h>
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/flight/message_size.h"
#include "flame/object/bson.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;
using arrow::flight::FlightDescriptor;

constexpr std::string_view kPatchCommand = "PATCH:";
constexpr std::chrono::seconds kMemoryPatience{10};  // How long an upload waits for room.
// It is kept with each object, in its row.
constexpr int64_t kMaxSchemaBytes = 16 << 20;
constexpr int64_t kChunkBytes = 160;  // Of the objects around one chunk.
constexpr int64_t kWaste =
    256 << 10;  // Bytes held for nothing that are not worth a copy.

Result<PutRequest> ParseDocument(std::string_view bytes) {
  ARROW_ASSIGN_OR_RAISE(const BsonReader document, BsonReader::Open(bytes));
  ARROW_ASSIGN_OR_RAISE(const std::string op, document.RequireString("op"));
  ARROW_ASSIGN_OR_RAISE(const std::string key, document.RequireString("key"));
  ARROW_ASSIGN_OR_RAISE(PutTarget target, PutTarget::Parse(key));
  PutRequest request{.target = std::move(target)};
  if (op == "patch") {
    request.op = PutRequest::Op::kPatch;
  } else if (op == "append") {
    request.op = PutRequest::Op::kAppend;
  } else if (op != "put") {
    return InvalidError(
        fmt::format("field 'op' is '{}'; it must be put, patch or append", op));
  }
  if (request.op != PutRequest::Op::kPut && request.target.generated) {
    return InvalidError(fmt::format("'{}': {} needs a full key", key, op));
  }
  ARROW_ASSIGN_OR_RAISE(request.if_version, document.Int("if_version"));
  ARROW_ASSIGN_OR_RAISE(request.ttl_ms, ParseTtl(document));
  ARROW_ASSIGN_OR_RAISE(const auto op_id, document.Binary("op_id"));
  if (op_id) {
    ARROW_ASSIGN_OR_RAISE(request.op_id, ParseOpId(*op_id));
  }
  ARROW_ASSIGN_OR_RAISE(const auto retry, document.Bool("retry"));
  request.retry = retry.value_or(false);
  if (request.retry && !request.op_id) {
    return InvalidError("field 'retry' needs an 'op_id'");
  }
  ARROW_ASSIGN_OR_RAISE(request.batches, document.Int("batches"));
  return request;
}

/// Which column holds the object's bytes: the one named `data`, else the second, as older
/// clients order them.
Result<int> DataColumn(const arrow::Schema& schema) {
  auto holds_bytes = [&](int index) {
    const auto id = schema.field(index)->type()->id();
    return id == arrow::Type::BINARY || id == arrow::Type::LARGE_BINARY;
  };
  const int named = schema.GetFieldIndex("data");
  if (named >= 0 && holds_bytes(named)) return named;
  if (named < 0 && schema.num_fields() >= 2 && holds_bytes(1)) return 1;
  return InvalidError(fmt::format(
      "an opaque object needs a column 'data' of binary or large_binary; the schema is "
      "{}. For an Arrow table set the schema metadata {}={}",
      schema.ToString(), kFormatKey, kNativeFormat));
}

/// Append `length` bytes at `offset` of `data`; neighbours become one chunk.
void AppendChunk(const std::shared_ptr<arrow::Buffer>& data, int64_t offset,
                 int64_t length, Chunks* chunks) {
  if (length == 0) return;
  if (!chunks->empty() && chunks->back()->parent() == data &&
      chunks->back()->data() + chunks->back()->size() == data->data() + offset) {
    const int64_t begin = chunks->back()->data() - data->data();
    chunks->back() = arrow::SliceBuffer(data, begin, offset + length - begin);
    return;
  }
  chunks->push_back(arrow::SliceBuffer(data, offset, length));
}

/// Append the values of `array`, sharing its buffer.
template <typename ArrayType>
void AppendValues(const ArrayType& array, Chunks* chunks) {
  const auto& data = array.value_data();
  if (array.length() == 0) return;
  if (array.null_count() == 0) {
    const int64_t begin = array.value_offset(0);
    AppendChunk(data, begin, array.value_offset(array.length()) - begin, chunks);
    return;
  }
  for (int64_t i = 0; i < array.length(); ++i) {
    if (!array.IsNull(i))
      AppendChunk(data, array.value_offset(i), array.value_length(i), chunks);
  }
}

Status Malformed(const Status& status) {
  return status.ok() ? status : InvalidError("malformed Arrow data: " + status.message());
}

}  // namespace

Result<OpId> ParseOpId(std::string_view bytes) {
  if (bytes.size() != 16) {
    return InvalidError(fmt::format("an op_id has 16 bytes, this one {}", bytes.size()));
  }
  OpId id;
  for (int i = 0; i < 8; ++i) {
    id.origin = id.origin << 8 | static_cast<uint8_t>(bytes[i]);
    id.counter = id.counter << 8 | static_cast<uint8_t>(bytes[8 + i]);
  }
  return id;
}

Result<int64_t> ParseTtl(const BsonReader& document) {
  ARROW_ASSIGN_OR_RAISE(const auto ttl_ms, document.Int("ttl_ms"));
  if (ttl_ms && *ttl_ms <= 0) {
    return InvalidError(fmt::format(
        "field 'ttl_ms' is {}; it must be a positive number of milliseconds", *ttl_ms));
  }
  return ttl_ms.value_or(0);
}

Result<PutRequest> PutRequest::Parse(const FlightDescriptor& descriptor) {
  if (descriptor.type == FlightDescriptor::PATH && !descriptor.path.empty()) {
    std::string text = descriptor.path[0];
    for (size_t i = 1; i < descriptor.path.size(); ++i) text += "/" + descriptor.path[i];
    ARROW_ASSIGN_OR_RAISE(PutTarget target, PutTarget::Parse(text));
    return PutRequest{.target = std::move(target)};
  }
  if (descriptor.type == FlightDescriptor::CMD) {
    const std::string_view command = descriptor.cmd;
    if (BsonReader::LooksLikeOne(command)) return ParseDocument(command);
    if (command.starts_with(kPatchCommand)) {
      ARROW_ASSIGN_OR_RAISE(Key key, Key::Parse(command.substr(kPatchCommand.size())));
      return PutRequest{.op = Op::kPatch, .target = {std::move(key), false}};
    }
  }
  return InvalidError(
      "do_put needs a descriptor: the path app/session or app/session/object, the "
      "command "
      "PATCH:<key>, or a command document");
}

namespace {

/// Memory of its own for what would keep much more alive.
bool Wasteful(int64_t used, int64_t memory) { return memory > 2 * used + kWaste; }

/// Reads one upload.
class Uploader {
 public:
  Uploader(const PutRequest& request, const UploadContext& context, Upload* upload)
      : request_(request), context_(context), upload_(*upload) {}

  Status Start(const std::shared_ptr<arrow::Schema>& schema) {
    schema_ = schema;
    // A stock PATCH is opaque whatever its schema's metadata says.
    native_ = request_.op == PutRequest::Op::kAppend ||
              (request_.op == PutRequest::Op::kPut && IsNative(*schema));
    if (!native_) return DataColumn(*schema).Value(&data_column_);
    const int64_t bytes = SizeOf(*schema);
    if (bytes > kMaxSchemaBytes) {
      return MakeError(ErrorCode::kTooLarge,
                       fmt::format("the schema has some {} bytes, the most is {}; keep "
                                   "large metadata in an object of its own",
                                   bytes, kMaxSchemaBytes));
    }
    return Lease(bytes);
  }

  Status Add(const std::shared_ptr<arrow::RecordBatch>& batch) {
    ++count_;
    const BatchSize size = SizeOf(*batch, native_ ? &counted_ : nullptr);
    upload_.received_bytes += size.bytes;
    if (upload_.received_bytes > context_.limits.object) return TooLarge();
    ARROW_RETURN_NOT_OK(Lease(size.memory + (native_ ? size.around : 0)));
    return native_ ? AddNative(batch, size) : AddOpaque(*batch, size);
  }

  Result<std::shared_ptr<const Payload>> End() {
    // A client that gives up in good order half-closes the call as if it were done: only
    // the promised number tells.
    if (request_.batches && *request_.batches != count_) {
      return WithOutcome(InvalidError(fmt::format(
                             "the upload broke off: {} of {} batches came; send it again",
                             count_, *request_.batches)),
                         Outcome::kNotApplied);
    }
    if (!native_) return Payload::Opaque(std::move(chunks_));
    return EncodeNative(StripReserved(schema_), batches_);
  }

 private:
  Status TooLarge() const {
    return MakeError(
        ErrorCode::kTooLarge,
        fmt::format("{}: over {} bytes, the most that one put or patch may have "
                    "(limits.object); split it into several objects",
                    request_.target.key.text(), context_.limits.object));
  }

  Status Lease(int64_t bytes) {
    if (bytes == 0) return Status::OK();
    leased_ += bytes;
    // What can never fit is not waited for.
    if (leased_ > context_.budget->limit()) {
      return MakeError(
          ErrorCode::kTooLarge,
          fmt::format("{}: the upload takes {} bytes of memory at once, more than the {} "
                      "that may be in flight (limits.in_flight); split it into several "
                      "objects",
                      request_.target.key.text(), leased_, context_.budget->limit()));
    }
    ARROW_ASSIGN_OR_RAISE(
        auto lease, context_.budget->Acquire(bytes, kMemoryPatience, context_.cancelled));
    upload_.leases.push_back(std::move(lease));
    return Status::OK();
  }

  Status AddNative(std::shared_ptr<arrow::RecordBatch> batch, const BatchSize& size) {
    ARROW_RETURN_NOT_OK(Malformed(batch->ValidateFull()));
    if (Wasteful(size.bytes, size.memory)) {
      ARROW_ASSIGN_OR_RAISE(batch, batch->CopyTo(arrow::default_cpu_memory_manager()));
      counted_.clear();  // Others may come to lie where the message lay.
    }
    batches_.push_back(std::move(batch));
    return Status::OK();
  }

  Status AddOpaque(const arrow::RecordBatch& batch, const BatchSize& size) {
    // Messages arrive at odd addresses: the offsets are moved to where they can be read.
    ARROW_ASSIGN_OR_RAISE(const auto column,
                          arrow::util::EnsureAlignment(batch.column(data_column_),
                                                       arrow::util::kValueAlignment,
                                                       arrow::default_memory_pool()));
    ARROW_RETURN_NOT_OK(Malformed(column->ValidateFull()));
    Chunks chunks;
    if (column->type_id() == arrow::Type::BINARY) {
      AppendValues(static_cast<const arrow::BinaryArray&>(*column), &chunks);
    } else {
      AppendValues(static_cast<const arrow::LargeBinaryArray&>(*column), &chunks);
    }
    int64_t used = 0;
    for (const auto& chunk : chunks) used += chunk->size();
    const int64_t around = std::ssize(chunks) * kChunkBytes;
    if (Wasteful(used, size.memory + around)) {
      ARROW_ASSIGN_OR_RAISE(auto joined, arrow::ConcatenateBuffers(chunks));
      chunks = {std::move(joined)};
    } else {
      ARROW_RETURN_NOT_OK(Lease(around));
    }
    chunks_.insert(chunks_.end(), chunks.begin(), chunks.end());
    return Status::OK();
  }

  const PutRequest& request_;
  const UploadContext& context_;
  Upload& upload_;
  std::shared_ptr<arrow::Schema> schema_;
  bool native_ = false;
  int data_column_ = -1;
  int64_t count_ = 0;
  int64_t leased_ = 0;
  Chunks chunks_;
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches_;
  std::unordered_set<const void*> counted_;  // Memory of batches_.
};

}  // namespace

Status ReadUpload(const PutRequest& request, arrow::flight::FlightMessageReader* reader,
                  const UploadContext& context, Upload* upload) {
  const auto schema = reader->GetSchema();
  ARROW_RETURN_NOT_OK(Malformed(schema.status()));
  Uploader uploader(request, context, upload);
  ARROW_RETURN_NOT_OK(uploader.Start(*schema));
  while (true) {
    auto next = reader->Next();
    const bool end = next.ok() && next->data == nullptr && next->app_metadata == nullptr;
    // A client that dies, and a call that is aborted, look like the end of the stream.
    if ((end || !next.ok()) && context.cancelled && context.cancelled()) {
      return WithOutcome(
          MakeError(ErrorCode::kCancelled, "the client went away during the upload"),
          Outcome::kNotApplied);
    }
    ARROW_RETURN_NOT_OK(Malformed(next.status()));
    if (end) break;
    if (next->data != nullptr) ARROW_RETURN_NOT_OK(uploader.Add(next->data));
  }
  return uploader.End().Value(&upload->payload);
}

}  // namespace flame
