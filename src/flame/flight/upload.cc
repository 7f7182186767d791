#include "flame/flight/upload.h"

#include <set>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/util/align_util.h>
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/object/bson.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;
using arrow::flight::FlightDescriptor;

constexpr std::string_view kPatchCommand = "PATCH:";
constexpr std::chrono::seconds kMemoryPatience{10};  // How long an upload waits for room.

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

/// Append the values of `array`, sharing its buffer; neighbours without a gap become one
/// chunk.
template <typename ArrayType>
void AppendValues(const ArrayType& array, Chunks* chunks) {
  const auto& data = array.value_data();
  if (array.null_count() == 0) {
    const int64_t begin = array.length() > 0 ? array.value_offset(0) : 0;
    const int64_t end = array.length() > 0 ? array.value_offset(array.length()) : 0;
    if (end > begin) chunks->push_back(arrow::SliceBuffer(data, begin, end - begin));
    return;
  }
  for (int64_t i = 0; i < array.length(); ++i) {
    if (array.IsNull(i) || array.value_length(i) == 0) continue;
    chunks->push_back(
        arrow::SliceBuffer(data, array.value_offset(i), array.value_length(i)));
  }
}

/// Of the array's buffers, its children's, and of a dictionary that is not in `seen`:
/// batches share one, or each may bring a larger one.
int64_t BytesOf(const arrow::ArrayData& array, std::set<const arrow::ArrayData*>* seen) {
  int64_t bytes = 0;
  for (const auto& buffer : array.buffers) {
    if (buffer != nullptr) bytes += buffer->size();
  }
  for (const auto& child : array.child_data) {
    if (child != nullptr) bytes += BytesOf(*child, seen);
  }
  if (array.dictionary != nullptr && seen->insert(array.dictionary.get()).second) {
    bytes += BytesOf(*array.dictionary, seen);
  }
  return bytes;
}

int64_t BytesOf(const arrow::RecordBatch& batch,
                std::set<const arrow::ArrayData*>* seen) {
  int64_t bytes = 0;
  for (const auto& column : batch.column_data()) bytes += BytesOf(*column, seen);
  return bytes;
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

Result<std::shared_ptr<const Payload>> ReadUpload(
    const PutRequest& request, arrow::flight::FlightMessageReader* reader, Budget* budget,
    const std::function<bool()>& cancelled, std::vector<Budget::Lease>* leases) {
  auto schema_result = reader->GetSchema();
  ARROW_RETURN_NOT_OK(Malformed(schema_result.status()));
  const auto& schema = *schema_result;
  // A stock PATCH is opaque whatever its schema's metadata says.
  const bool native = request.op == PutRequest::Op::kAppend ||
                      (request.op == PutRequest::Op::kPut && IsNative(*schema));
  int data_column = -1;
  if (!native) {
    ARROW_ASSIGN_OR_RAISE(data_column, DataColumn(*schema));
  }

  Chunks chunks;
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  std::set<const arrow::ArrayData*> dictionaries;
  int64_t count = 0;
  while (true) {
    auto next = reader->Next();
    const bool end = next.ok() && next->data == nullptr && next->app_metadata == nullptr;
    // A client that dies, and a call that is aborted, look like the end of the stream.
    if ((end || !next.ok()) && cancelled && cancelled()) {
      return WithOutcome(
          MakeError(ErrorCode::kCancelled, "the client went away during the upload"),
          Outcome::kNotApplied);
    }
    ARROW_RETURN_NOT_OK(Malformed(next.status()));
    if (end) break;
    if (next->data == nullptr) continue;
    ++count;
    const auto& batch = next->data;
    ARROW_ASSIGN_OR_RAISE(auto lease, budget->Acquire(BytesOf(*batch, &dictionaries),
                                                      kMemoryPatience, cancelled));
    leases->push_back(std::move(lease));
    if (native) {
      ARROW_RETURN_NOT_OK(Malformed(batch->ValidateFull()));
      batches.push_back(batch);
      continue;
    }
    // Messages arrive at odd addresses: the offsets are moved to where they can be read.
    ARROW_ASSIGN_OR_RAISE(const auto column,
                          arrow::util::EnsureAlignment(batch->column(data_column),
                                                       arrow::util::kValueAlignment,
                                                       arrow::default_memory_pool()));
    ARROW_RETURN_NOT_OK(Malformed(column->ValidateFull()));
    if (column->type_id() == arrow::Type::BINARY) {
      AppendValues(static_cast<const arrow::BinaryArray&>(*column), &chunks);
    } else {
      AppendValues(static_cast<const arrow::LargeBinaryArray&>(*column), &chunks);
    }
  }
  // A client that gives up in good order half-closes the call as if it were done: only
  // the promised number tells.
  if (request.batches && *request.batches != count) {
    return WithOutcome(InvalidError(fmt::format(
                           "the upload broke off: {} of {} batches came; send it again",
                           count, *request.batches)),
                       Outcome::kNotApplied);
  }
  if (!native) return Payload::Opaque(std::move(chunks));
  return EncodeNative(StripReserved(schema), batches);
}

}  // namespace flame
