// Payload: the bytes of one put or one patch, immutable, as a list of chunks that need
// not be contiguous. Nobody copies one to serve it: doors, stores and snapshots share it.
//
// Two kinds. Opaque: the object is the concatenation of the chunks. Native: an Arrow
// table, kept as the IPC messages (dictionaries and record batches, in stream order) that
// follow the schema, so that serving needs no encoding.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/ipc/writer.h>
#include <arrow/result.h>
#include <arrow/type_fwd.h>

namespace flame {

enum class Kind : uint8_t { kOpaque = 0, kNative = 1 };
const char* KindName(Kind kind);  // "opaque", "native"

using Chunks = std::vector<std::shared_ptr<arrow::Buffer>>;
/// One IPC message: flatbuffer metadata, and body buffers each padded to 8 bytes.
using Frame = arrow::ipc::IpcPayload;

/// Immutable after construction; thread-safe to share.
class Payload {
 public:
  static std::shared_ptr<const Payload> Opaque(Chunks chunks);
  /// `schema` carries the user's metadata and `flame.cache.logical_type`, not the format
  /// and version entries.
  static std::shared_ptr<const Payload> Native(std::shared_ptr<arrow::Schema> schema,
                                               std::vector<Frame> frames);

  Kind kind() const { return kind_; }
  /// Payload bytes: of the chunks, or of the messages' metadata and bodies.
  int64_t size() const { return size_; }
  const Chunks& chunks() const { return chunks_; }                          // Opaque.
  const std::vector<Frame>& frames() const { return frames_; }              // Native.
  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }  // Native.

 private:
  Payload() = default;

  Kind kind_ = Kind::kOpaque;
  int64_t size_ = 0;
  Chunks chunks_;
  std::vector<Frame> frames_;
  std::shared_ptr<arrow::Schema> schema_;
};

/// IPC message bodies and opaque rows are cut at this size: Arrow, gRPC and protobuf all
/// grow fragile near 2 GiB.
inline constexpr int64_t kMaxBatchBytes = int64_t{1} << 30;

/// Metadata of a native schema on the wire and in files (docs/internals/wire.md).
inline constexpr char kFormatKey[] = "flame.cache.format";
inline constexpr char kNativeFormat[] = "arrow-table-v1";
inline constexpr char kVersionKey[] = "flame.cache.version";
inline constexpr char kLogicalTypeKey[] = "flame.cache.logical_type";
inline constexpr char kReservedPrefix[] = "flame.cache.";

/// True if the schema's metadata says `arrow-table-v1`.
bool IsNative(const arrow::Schema& schema);
/// Without the `flame.cache.*` entries but the logical type.
std::shared_ptr<arrow::Schema> StripReserved(
    const std::shared_ptr<arrow::Schema>& schema);
/// With format, version and the `extra` entries: what goes out. `schema` has been
/// stripped.
std::shared_ptr<arrow::Schema> DressNative(
    const std::shared_ptr<arrow::Schema>& schema, int64_t version,
    const std::vector<std::pair<std::string, std::string>>& extra = {});

/// Encode batches of `schema`. Buffers are shared, not copied, unless a `codec`
/// compresses them. The batches must have been validated.
arrow::Result<std::shared_ptr<const Payload>> EncodeNative(
    const std::shared_ptr<arrow::Schema>& schema,
    const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches,
    std::shared_ptr<arrow::util::Codec> codec = nullptr);
/// Decode frames back to batches that share their buffers. `validate`: check every offset
/// and string, for bytes that somebody else wrote.
arrow::Result<std::vector<std::shared_ptr<arrow::RecordBatch>>> DecodeNative(
    const std::shared_ptr<arrow::Schema>& schema, const std::vector<Frame>& frames,
    bool validate);

/// `schema` as one encapsulated IPC message, and back.
arrow::Result<std::shared_ptr<arrow::Buffer>> EncodeSchema(const arrow::Schema& schema);
arrow::Result<std::shared_ptr<arrow::Schema>> DecodeSchema(
    const std::shared_ptr<arrow::Buffer>& bytes);

/// The payload as one run of bytes, as stores keep it: an opaque one's chunks, a native
/// one's encapsulated messages without schema and end-of-stream mark.
int64_t StoredSize(const Payload& payload);
arrow::Status WriteStored(const Payload& payload, arrow::io::OutputStream* sink);
/// The inverse; the payload shares `bytes`. `schema` for native ones.
arrow::Result<std::shared_ptr<const Payload>> ReadStored(
    Kind kind, const std::shared_ptr<arrow::Schema>& schema,
    const std::shared_ptr<arrow::Buffer>& bytes);

/// A complete IPC stream: schema, messages, end mark. And back, validating every byte;
/// kTooLarge, before any of it is allocated, for what would decode to over `max_bytes`.
arrow::Result<std::shared_ptr<arrow::Buffer>> EncodeIpcStream(const arrow::Schema& schema,
                                                              const Payload& payload);
arrow::Result<std::shared_ptr<const Payload>> DecodeIpcStream(
    const std::shared_ptr<arrow::Buffer>& bytes, int64_t max_bytes = kMaxBatchBytes);

/// One chunk for all: the opaque payload's bytes, copied only when there are several
/// chunks.
arrow::Result<std::shared_ptr<arrow::Buffer>> Contiguous(const Payload& opaque);
/// xxh3 (64 bits) of the stored form. Source: xxHash, XXH3_64bits.
uint64_t ChecksumOf(const Payload& payload);
uint64_t ChecksumOf(const arrow::Buffer& stored);

}  // namespace flame
