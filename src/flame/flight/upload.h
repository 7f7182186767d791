// Uploads: what a do_put stream brings, as a payload.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <arrow/flight/server.h>

#include "flame/flight/limits.h"
#include "flame/memory/buffer_pool.h"
#include "flame/object/bson.h"
#include "flame/object/key.h"
#include "flame/object/payload.h"
#include "flame/storage/record.h"

namespace flame {

/// What a do_put's descriptor asks for.
struct PutRequest {
  enum class Op { kPut, kPatch, kAppend };
  Op op = Op::kPut;
  PutTarget target;
  std::optional<Version> if_version;
  int64_t ttl_ms = 0;  // 0 = as WriteOptions has it.
  std::optional<OpId> op_id;
  bool retry = false;
  // So many record batches follow; another number is a broken upload.
  std::optional<int64_t> batches;

  /// kInvalid, saying what a descriptor must be.
  static arrow::Result<PutRequest> Parse(
      const arrow::flight::FlightDescriptor& descriptor);
};

/// The 16 bytes of an op id on the wire: origin and counter, big endian.
arrow::Result<OpId> ParseOpId(std::string_view bytes);

/// Field `ttl_ms` of a write: milliseconds that the object lives; 0 when it is missing.
arrow::Result<int64_t> ParseTtl(const BsonReader& document);

/// An upload that has arrived, and what it counts for.
struct Upload {
  std::shared_ptr<const Payload> payload;
  int64_t received_bytes = 0;
  // Against the budget, until the payload is written.
  std::vector<Budget::Lease> leases;
};

/// What reading one needs; all borrowed for the call.
struct UploadContext {
  Budget* budget;
  const FlightLimits& limits;
  const std::function<bool()>& cancelled;
};

/// Read the stream to its end. Key, schema and shape are checked before the first batch
/// is waited for. Opaque data is shared with the network messages, not copied, unless it
/// is the smaller part of them; native batches are validated in full. kTooLarge as soon
/// as more has come than one object may have.
arrow::Status ReadUpload(const PutRequest& request,
                         arrow::flight::FlightMessageReader* reader,
                         const UploadContext& context, Upload* upload);

}  // namespace flame
