#include "flame/storage/record.h"

#include <arrow/util/logging.h>
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/object/key.h"
#include "flame/storage/coding.h"

namespace flame {
namespace {

constexpr uint8_t kFormat = 1;

enum RowFlags : uint8_t {
  kDeleted = 1,
  kOpsOverflowed = 2,
  kHasChecksum = 4,
  kHasSchema = 8,
  kForeignFile = 16,
  kAllFlags = 31,
};

arrow::Status Corrupt(std::string_view record, std::string_view what) {
  return MakeError(ErrorCode::kCorrupt, fmt::format("stored {}: {}", record, what));
}

/// The format number has been read; say what is wrong with it, if anything is.
arrow::Status CheckFormat(const Decoder& decoder, uint8_t format,
                          std::string_view record) {
  if (!decoder.ok()) return Corrupt(record, "empty");
  if (format == kFormat) return arrow::Status::OK();
  return Corrupt(record,
                 fmt::format("format {}, this program knows {}", format, kFormat));
}

uint8_t FlagsOf(const Row& row) {
  uint8_t flags = 0;
  if (row.deleted) flags |= kDeleted;
  if (row.ops.overflowed) flags |= kOpsOverflowed;
  if (row.deleted) return flags;
  if (row.checksum) flags |= kHasChecksum;
  if (row.schema != nullptr) flags |= kHasSchema;
  if (row.base.foreign) flags |= kForeignFile;
  return flags;
}

arrow::Result<OpHistory> DecodeOps(Decoder* decoder, bool overflowed) {
  OpHistory ops;
  ops.overflowed = overflowed;
  const auto count = decoder->Fixed<uint8_t>();
  if (count > OpHistory::kOrigins) return Corrupt("row", "too many writers");
  for (int i = 0; i < count; ++i) {
    OpHistory::Entry entry;
    entry.op.origin = decoder->Fixed<uint64_t>();
    entry.op.counter = decoder->Fixed<uint64_t>();
    entry.version = decoder->Fixed<int64_t>();
    ops.entries.push_back(entry);
  }
  return ops;
}

arrow::Status CheckLive(const Row& row, uint8_t kind, uint8_t location) {
  if (kind > static_cast<uint8_t>(Kind::kNative)) return Corrupt("row", "unknown kind");
  if (location < static_cast<uint8_t>(Location::Type::kInline) ||
      location > static_cast<uint8_t>(Location::Type::kUnread) ||
      location == static_cast<uint8_t>(Location::Type::kHeap)) {
    return Corrupt("row", "unknown location");
  }
  if (row.expires_at_ms < 0 || row.base_version < 0 || row.base_version > row.version ||
      row.patch_count < 0 || row.base_bytes < 0 || row.patch_bytes < 0 ||
      row.base.stored_bytes < 0) {
    return Corrupt("row", "a number is out of range");
  }
  return arrow::Status::OK();
}

}  // namespace

std::string EncodeRow(uint16_t slot, const Row& row) {
  std::string bytes;
  Encoder encoder(&bytes);
  encoder.Fixed(kFormat);
  encoder.Fixed(slot);
  encoder.Fixed(row.epoch);
  encoder.Fixed(row.seq);
  encoder.Fixed(row.wall_ms);
  encoder.Fixed(row.version);
  encoder.Fixed(FlagsOf(row));
  encoder.Fixed(static_cast<uint8_t>(row.ops.entries.size()));
  for (const auto& entry : row.ops.entries) {
    encoder.Fixed(entry.op.origin);
    encoder.Fixed(entry.op.counter);
    encoder.Fixed(entry.version);
  }
  if (row.deleted) return bytes;

  ARROW_DCHECK(row.base.type != Location::Type::kHeap);
  encoder.Fixed(row.meta_seq);
  encoder.Fixed(row.expires_at_ms);
  encoder.Fixed(row.base_version);
  encoder.Fixed(static_cast<uint8_t>(row.kind));
  encoder.Fixed(row.patch_count);
  encoder.Fixed(row.base_bytes);
  encoder.Fixed(row.patch_bytes);
  encoder.Fixed(static_cast<uint8_t>(row.base.type));
  encoder.Fixed(row.base.file_id);
  encoder.Fixed(row.base.stored_bytes);
  encoder.String(row.base.path);
  if (row.checksum) encoder.Fixed(*row.checksum);
  if (row.schema != nullptr) encoder.String(std::string_view(*row.schema));
  return bytes;
}

arrow::Result<Row> DecodeRow(std::string_view bytes) {
  Decoder decoder(bytes);
  ARROW_RETURN_NOT_OK(CheckFormat(decoder, decoder.Fixed<uint8_t>(), "row"));
  Row row;
  if (decoder.Fixed<uint16_t>() >= kSlots) return Corrupt("row", "no such slot");
  row.epoch = decoder.Fixed<uint64_t>();
  row.seq = decoder.Fixed<uint64_t>();
  row.wall_ms = decoder.Fixed<int64_t>();
  row.version = decoder.Fixed<int64_t>();
  const auto flags = decoder.Fixed<uint8_t>();
  if ((flags & ~kAllFlags) != 0) return Corrupt("row", "unknown flags");
  if (row.version < 0 || row.version > kMaxStoredVersion) {
    return Corrupt("row", "a version out of range");
  }
  ARROW_ASSIGN_OR_RAISE(row.ops, DecodeOps(&decoder, (flags & kOpsOverflowed) != 0));
  row.deleted = (flags & kDeleted) != 0;
  if (row.deleted) {
    if ((flags & ~(kDeleted | kOpsOverflowed)) != 0)
      return Corrupt("tombstone", "unknown flags");
    if (!decoder.Done()) return Corrupt("tombstone", "wrong length");
    return row;
  }

  row.meta_seq = decoder.Fixed<uint64_t>();
  row.expires_at_ms = decoder.Fixed<int64_t>();
  row.base_version = decoder.Fixed<int64_t>();
  const auto kind = decoder.Fixed<uint8_t>();
  row.patch_count = decoder.Fixed<int32_t>();
  row.base_bytes = decoder.Fixed<int64_t>();
  row.patch_bytes = decoder.Fixed<int64_t>();
  const auto location = decoder.Fixed<uint8_t>();
  row.base.file_id = decoder.Fixed<uint64_t>();
  row.base.stored_bytes = decoder.Fixed<int64_t>();
  row.base.path = decoder.String();
  if (flags & kHasChecksum) row.checksum = decoder.Fixed<uint64_t>();
  if (flags & kHasSchema) {
    row.schema = arrow::Buffer::FromString(std::string(decoder.String()));
  }
  if (!decoder.Done()) return Corrupt("row", "wrong length");
  ARROW_RETURN_NOT_OK(CheckLive(row, kind, location));
  row.kind = static_cast<Kind>(kind);
  row.base.type = static_cast<Location::Type>(location);
  row.base.foreign = (flags & kForeignFile) != 0;
  return row;
}

std::string EncodeSlotState(uint16_t slot, const SlotState& state) {
  std::string bytes;
  Encoder encoder(&bytes);
  encoder.Fixed(kFormat);
  encoder.Fixed(slot);
  encoder.Fixed(state.floor);
  encoder.Fixed(state.fold_seq);
  encoder.Fixed(state.generation);
  encoder.Fixed(state.last_seq);
  encoder.Fixed(state.tombstones);
  return bytes;
}

arrow::Result<SlotState> DecodeSlotState(std::string_view bytes) {
  Decoder decoder(bytes);
  ARROW_RETURN_NOT_OK(CheckFormat(decoder, decoder.Fixed<uint8_t>(), "slot"));
  const auto slot = decoder.Fixed<uint16_t>();
  SlotState state;
  state.floor = decoder.Fixed<int64_t>();
  state.fold_seq = decoder.Fixed<uint64_t>();
  state.generation = decoder.Fixed<uint64_t>();
  state.last_seq = decoder.Fixed<uint64_t>();
  state.tombstones = decoder.Fixed<int64_t>();
  if (!decoder.Done()) return Corrupt("slot", "wrong length");
  if (slot >= kSlots) return Corrupt("slot", "no such slot");
  if (state.floor < 0 || state.floor > kMaxStoredVersion || state.tombstones < 0 ||
      state.generation > static_cast<uint64_t>(kMaxStoredVersion >> kGenerationShift)) {
    return Corrupt("slot", "a number is out of range");
  }
  return state;
}

}  // namespace flame
