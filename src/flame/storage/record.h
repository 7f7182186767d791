// Records: what a store keeps per key and per slot, and their encoding on disk. The
// encodings are described on docs/internals/records.md and pinned by golden bytes in
// record_test.cc: changing one breaks every existing disk.
//
// Values; no I/O. Stores keep the versions that they are given and never compare them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/result.h>

#include "flame/object/snapshot.h"

namespace flame {

/// Names one attempt to write, so that a retry applies once. Counters rise per origin.
struct OpId {
  uint64_t origin = 0;
  uint64_t counter = 0;
  bool operator==(const OpId&) const = default;
};

/// The last writers of a key, so that a retry can be answered; moves with the row or
/// tombstone.
struct OpHistory {
  struct Entry {
    OpId op;
    Version version = 0;  // What that write was given.
  };
  static constexpr size_t kOrigins = 4;

  std::vector<Entry> entries;  // Newest first, one per origin, at most kOrigins.
  // An origin was dropped: an unknown one can't be decided any more.
  bool overflowed = false;
};

/// Where the stored form of a base lies.
struct Location {
  enum class Type : uint8_t {
    kInline = 1,  // In the store's value table, beside the row.
    kHeap = 2,    // In this process; a store that keeps nothing. Never encoded.
    kArena = 3,   // In shared memory, not yet written ("dirty").
    kFile = 4,    // An Arrow IPC file below the root.
    kUnread =
        5,  // An IPC file that another program wrote and nobody has looked into yet.
  };
  Type type = Type::kInline;
  std::string path;      // kFile, kUnread: relative to the root.
  uint64_t file_id = 0;  // kFile: `.flame/tmp/<file_id>` until it is renamed to `path`.
  int64_t stored_bytes = 0;  // Of the stored form; kUnread: of the whole file.
  bool foreign = false;  // kFile: another program's, perhaps compressed: decode in full.
};

/// The newest committed state of one key: a live object, or a tombstone that remembers
/// its last version.
struct Row {
  uint64_t seq = 0;      // Of the commit; dense per slot.
  uint64_t epoch = 0;    // Of the owner; 0 on one node.
  int64_t wall_ms = 0;   // Of the commit.
  Version version = 0;   // Newest; a tombstone's: the last one that was given out.
  bool deleted = false;  // A tombstone: the fields below the op history are empty.
  OpHistory ops;

  uint64_t meta_seq = 0;
  int64_t expires_at_ms = 0;  // 0 = never.
  Version base_version = 0;   // The patches are base_version + 1 ... version.
  Kind kind = Kind::kOpaque;
  int32_t patch_count = 0;
  int64_t base_bytes = 0;  // Payload bytes.
  int64_t patch_bytes = 0;
  // xxh3 of the base's stored form; absent: not yet computed.
  std::optional<uint64_t> checksum;
  // Native: encapsulated schema message. Else null.
  std::shared_ptr<arrow::Buffer> schema;
  Location base;
};

/// What a hash slot remembers beyond its keys.
struct SlotState {
  Version floor = 0;  // No version at or below may be given to a key that is absent here.
  uint64_t fold_seq = 0;    // Tombstones up to this seq have been folded into the floor.
  uint64_t generation = 0;  // Versions here are at least generation << 40.
  uint64_t last_seq = 0;
  int64_t tombstones = 0;  // Exact tombstones kept.
};

inline constexpr int kGenerationShift = 40;

/// Encodings. Decoding checks every length; kCorrupt names what is wrong. Unknown format
/// numbers are kCorrupt too: a newer program wrote them.
std::string EncodeRow(uint16_t slot, const Row& row);
arrow::Result<Row> DecodeRow(std::string_view bytes);
std::string EncodeSlotState(uint16_t slot, const SlotState& state);
arrow::Result<SlotState> DecodeSlotState(std::string_view bytes);

}  // namespace flame
