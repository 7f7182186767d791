// Records that hold payloads: small bases, and patches. Format:
// docs/internals/records.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <arrow/buffer.h>
#include <arrow/result.h>

#include "flame/object/payload.h"
#include "flame/object/snapshot.h"

namespace flame {

/// A small base. It carries its own version: a reader that holds a row must notice that
/// the value beside it is newer.
arrow::Result<std::string> EncodeValue(Version base_version, const Payload& payload);
struct StoredValue {
  Version base_version = 0;
  std::string_view stored;  // Into the decoded bytes.
};
arrow::Result<StoredValue> DecodeValue(std::string_view bytes);

/// A patch: its bytes, or the id of the blob that holds them.
struct StoredPatch {
  Kind kind = Kind::kOpaque;
  uint64_t checksum = 0;
  std::optional<uint64_t> blob;
  std::string_view stored;  // Into the decoded bytes; empty for blobs.
};
arrow::Result<std::string> EncodePatch(uint64_t checksum, const Payload& payload,
                                       std::optional<uint64_t> blob);
arrow::Result<StoredPatch> DecodePatch(std::string_view bytes);

/// The stored form in a buffer of its own, aligned to 64 bytes.
arrow::Result<std::shared_ptr<arrow::Buffer>> CopyOf(std::string_view stored);

}  // namespace flame
