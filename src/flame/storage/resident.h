// Resident: one object in memory, as the cache's table holds it. A small opaque object,
// which most are, is packed: place in the queues, fields (as varints), key and bytes are
// one allocation, and readers are given snapshots that share its bytes. Any other holds
// the snapshot that it was made from.
//
// A store in memory holds small objects in the same form, with their whole row, and the
// table shares them: that is why this lies in storage/.
//
// Immutable but for the EvictionNode, which Residency's lock guards; thread-safe to
// share.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include "flame/object/snapshot.h"
#include "flame/storage/eviction_node.h"
#include "flame/storage/record.h"

namespace flame {

class Resident;
using ResidentPtr = boost::intrusive_ptr<Resident>;

class Resident final : public EvictionNode {
 public:
  /// Objects of up to so many bytes are packed: beyond that the bytes outweigh what is
  /// held about them, and are better not copied.
  static constexpr int64_t kMaxPackedBytes = 4096;
  static bool CanPack(Kind kind, int32_t patch_count, int64_t bytes) {
    return kind == Kind::kOpaque && patch_count == 0 && bytes <= kMaxPackedBytes;
  }

  /// REQUIRES: CanPack(). Copies the bytes. `charge`, of this and the next: what the
  /// object takes of the memory that objects may take (Cache::ChargeOf).
  static ResidentPtr Packed(std::string_view key, const Snapshot& snapshot,
                            int64_t charge);
  static ResidentPtr Shared(std::string_view key,
                            std::shared_ptr<const Snapshot> snapshot, int64_t charge);
  /// The packed object with its whole row: a store holds it, and the table beside it.
  /// REQUIRES: HasPackedForm(row, payload). The charge is 0.
  static ResidentPtr Stored(std::string_view key, const Row& row, const Payload& payload);
  /// The live `row` with this base has nothing that Stored() has no place for.
  static bool HasPackedForm(const Row& row, const Payload& base);
  /// Bytes that a packed object takes from the allocator, payload and key included.
  static int64_t PackedFootprint(int64_t key_bytes, int64_t bytes);
  static int64_t StoredFootprint(int64_t key_bytes, int64_t bytes);

  Resident(const Resident&) = delete;
  Resident& operator=(const Resident&) = delete;

  std::string_view key() const { return {key_start(), key_bytes_}; }
  Version version() const;
  uint64_t seq() const;
  int64_t expires_at_ms() const;
  int64_t bytes() const;  // Payload bytes, base and patches.
  Kind kind() const;

  /// What a reader gets. Put together anew for a packed object.
  std::shared_ptr<const Snapshot> snapshot();
  /// The snapshot that it holds; null: it is packed.
  std::shared_ptr<const Snapshot> shared_snapshot() const;
  /// REQUIRES: made by Stored().
  Row row() const;
  /// Somebody beside the table and the store holds its bytes. REQUIRES: the lock of its
  /// shard, so that nobody begins to.
  bool in_use() const;

 private:
  using SharedSnapshot = std::shared_ptr<const Snapshot>;
  /// Of a packed object: what is not its key or bytes.
  struct Fields {
    Version version = 0;
    uint64_t seq = 0;
    int64_t modified_ms = 0;
    int64_t expires_at_ms = 0;
  };
  // form_: the number of packed bytes, and whether there is the rest of the row; or
  // kShared.
  static constexpr uint16_t kStored = 1 << 15;
  static constexpr uint16_t kShared = UINT16_MAX;

  Resident(std::string_view key, uint16_t form, int64_t charge);
  ~Resident() = default;
  /// `fields` encoded, and the bytes of `payload`.
  static ResidentPtr Pack(std::string_view key, uint16_t form, std::string_view fields,
                          const Payload& payload, int64_t charge);
  /// With so much memory behind it.
  static ResidentPtr Make(std::string_view key, uint16_t form, int64_t charge,
                          size_t tail_bytes);
  // Behind the object lie, if it is packed: the length of the encoded fields (a byte),
  // these, the key, the bytes. Otherwise: the snapshot's pointer, the key.
  const char* tail() const { return reinterpret_cast<const char*>(this + 1); }
  char* tail() { return reinterpret_cast<char*>(this + 1); }
  bool is_packed() const { return form_ != kShared; }
  bool is_stored() const { return is_packed() && (form_ & kStored) != 0; }
  uint16_t packed_bytes() const { return form_ & (kStored - 1); }
  std::string_view encoded_fields() const {
    return {tail() + 1, static_cast<uint8_t>(*tail())};
  }
  const char* key_start() const;
  /// REQUIRES: is_packed().
  Fields fields() const;
  const char* packed_data() const { return key_start() + key_bytes_; }
  /// REQUIRES: !is_packed().
  const SharedSnapshot& shared() const;

  friend void intrusive_ptr_add_ref(Resident* resident) {
    resident->references_.fetch_add(1, std::memory_order_relaxed);
  }
  friend void intrusive_ptr_release(Resident* resident);

  // In this order, so that nothing is padded.
  const uint16_t form_;
  std::atomic<uint32_t> references_{0};
  const uint32_t key_bytes_;
};

}  // namespace flame
