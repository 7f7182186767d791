#include "flame/storage/resident.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include <absl/hash/hash.h>

#include "flame/storage/coding.h"

namespace flame {
namespace {

/// A view of packed bytes that keeps them alive.
class PackedBytes final : public arrow::Buffer {
 public:
  PackedBytes(ResidentPtr owner, const char* data, int64_t size)
      : arrow::Buffer(reinterpret_cast<const uint8_t*>(data), size),
        owner_(std::move(owner)) {}

 private:
  const ResidentPtr owner_;
};

// Encoded fields with their length: a version up to 2^21, a seq up to 2^28, two times.
constexpr int64_t kUsualFields = 20;
// And of a row: the history of one origin.
constexpr int64_t kUsualRest = 20;

/// What malloc takes for `bytes`: glibc a header more, in steps of 16; jemalloc, which
/// the server has, in four steps for each power of two (its manual: "size classes").
int64_t Allocated(int64_t bytes) {
  const int64_t glibc = (bytes + 8 + 15) / 16 * 16;
  const auto octave =
      static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes - 1)));
  const int64_t step = std::max<int64_t>(16, octave / 4);
  return std::max(glibc, (bytes + step - 1) / step * step);
}

}  // namespace

Resident::Resident(std::string_view key, uint16_t form, int64_t charge)
    : form_(form), key_bytes_(static_cast<uint32_t>(key.size())) {
  static_assert(sizeof(Resident) == 40, "a field was added where it costs padding");
  this->charge = charge;
  this->hash = static_cast<uint32_t>(absl::HashOf(key));
}

ResidentPtr Resident::Make(std::string_view key, uint16_t form, int64_t charge,
                           size_t tail_bytes) {
  void* place = ::operator new(sizeof(Resident) + tail_bytes);
  return new (place) Resident(key, form, charge);
}

ResidentPtr Resident::Pack(std::string_view key, uint16_t form, std::string_view fields,
                           const Payload& payload, int64_t charge) {
  static_assert(kMaxPackedBytes < kStored);
  const auto bytes = static_cast<size_t>(payload.size());
  auto resident = Make(key, static_cast<uint16_t>(form | bytes), charge,
                       1 + fields.size() + key.size() + bytes);
  char* at = resident->tail();
  auto append = [&at](const void* from, size_t size) {
    if (size != 0) std::memcpy(at, from, size);
    at += size;
  };
  *at++ = static_cast<char>(fields.size());
  append(fields.data(), fields.size());
  append(key.data(), key.size());
  for (const auto& chunk : payload.chunks()) {
    append(chunk->data(), static_cast<size_t>(chunk->size()));
  }
  return resident;
}

ResidentPtr Resident::Packed(std::string_view key, const Snapshot& snapshot,
                             int64_t charge) {
  std::string fields;
  Encoder encoder(&fields);
  encoder.Varint(static_cast<uint64_t>(snapshot.version));
  encoder.Varint(snapshot.seq);
  encoder.Varint(static_cast<uint64_t>(snapshot.modified_ms));
  encoder.Varint(static_cast<uint64_t>(snapshot.expires_at_ms));
  return Pack(key, 0, fields, *snapshot.base, charge);
}

bool Resident::HasPackedForm(const Row& row, const Payload& base) {
  return CanPack(row.kind, row.patch_count, row.base_bytes) &&
         base.size() == row.base_bytes && row.base_version == row.version &&
         row.epoch == 0 && !row.checksum && row.schema == nullptr &&
         row.ops.entries.size() <= OpHistory::kOrigins;
}

ResidentPtr Resident::Stored(std::string_view key, const Row& row,
                             const Payload& payload) {
  std::string fields;
  Encoder encoder(&fields);
  encoder.Varint(static_cast<uint64_t>(row.version));
  encoder.Varint(row.seq);
  encoder.Varint(static_cast<uint64_t>(row.wall_ms));
  encoder.Varint(static_cast<uint64_t>(row.expires_at_ms));
  encoder.Varint(row.meta_seq);
  encoder.Varint(row.ops.entries.size() * 2 + (row.ops.overflowed ? 1 : 0));
  for (const OpHistory::Entry& entry : row.ops.entries) {
    encoder.Fixed(entry.op.origin);
    encoder.Varint(entry.op.counter);
    encoder.Varint(static_cast<uint64_t>(entry.version));
  }
  return Pack(key, kStored, fields, payload, 0);
}

ResidentPtr Resident::Shared(std::string_view key,
                             std::shared_ptr<const Snapshot> snapshot, int64_t charge) {
  auto resident = Make(key, kShared, charge, sizeof(SharedSnapshot) + key.size());
  new (resident->tail()) SharedSnapshot(std::move(snapshot));
  std::memcpy(resident->tail() + sizeof(SharedSnapshot), key.data(), key.size());
  return resident;
}

void intrusive_ptr_release(Resident* resident) {
  if (resident->references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (!resident->is_packed()) resident->shared().~shared_ptr();
  resident->~Resident();
  ::operator delete(static_cast<void*>(resident));
}

int64_t Resident::PackedFootprint(int64_t key_bytes, int64_t bytes) {
  return Allocated(static_cast<int64_t>(sizeof(Resident)) + kUsualFields + key_bytes +
                   bytes);
}

int64_t Resident::StoredFootprint(int64_t key_bytes, int64_t bytes) {
  return PackedFootprint(key_bytes + kUsualRest, bytes);
}

const char* Resident::key_start() const {
  return tail() + (is_packed() ? 1 + static_cast<uint8_t>(*tail())
                               : static_cast<int>(sizeof(SharedSnapshot)));
}

Resident::Fields Resident::fields() const {
  Decoder decoder(encoded_fields());
  Fields fields;
  fields.version = static_cast<Version>(decoder.Varint());
  fields.seq = decoder.Varint();
  fields.modified_ms = static_cast<int64_t>(decoder.Varint());
  fields.expires_at_ms = static_cast<int64_t>(decoder.Varint());
  return fields;
}

Row Resident::row() const {
  Decoder decoder(encoded_fields());
  Row row;
  row.version = row.base_version = static_cast<Version>(decoder.Varint());
  row.seq = decoder.Varint();
  row.wall_ms = static_cast<int64_t>(decoder.Varint());
  row.expires_at_ms = static_cast<int64_t>(decoder.Varint());
  row.meta_seq = decoder.Varint();
  const uint64_t history = decoder.Varint();
  row.ops.overflowed = history % 2 != 0;
  for (uint64_t i = 0; i < history / 2; ++i) {
    OpHistory::Entry& entry = row.ops.entries.emplace_back();
    entry.op.origin = decoder.Fixed<uint64_t>();
    entry.op.counter = decoder.Varint();
    entry.version = static_cast<Version>(decoder.Varint());
  }
  row.base_bytes = packed_bytes();
  row.base.type = Location::Type::kHeap;
  return row;
}

const Resident::SharedSnapshot& Resident::shared() const {
  return *std::launder(reinterpret_cast<const SharedSnapshot*>(tail()));
}

Version Resident::version() const {
  return is_packed() ? fields().version : shared()->version;
}

uint64_t Resident::seq() const { return is_packed() ? fields().seq : shared()->seq; }

int64_t Resident::expires_at_ms() const {
  return is_packed() ? fields().expires_at_ms : shared()->expires_at_ms;
}

int64_t Resident::bytes() const { return is_packed() ? packed_bytes() : shared()->bytes; }

Kind Resident::kind() const { return is_packed() ? Kind::kOpaque : shared()->kind(); }

std::shared_ptr<const Snapshot> Resident::snapshot() {
  if (!is_packed()) return shared();
  const Fields fields = this->fields();
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->version = snapshot->base_version = fields.version;
  snapshot->seq = fields.seq;
  snapshot->modified_ms = fields.modified_ms;
  snapshot->expires_at_ms = fields.expires_at_ms;
  snapshot->base = Payload::Opaque(
      {std::make_shared<PackedBytes>(this, packed_data(), packed_bytes())});
  snapshot->bytes = packed_bytes();
  return snapshot;
}

std::shared_ptr<const Snapshot> Resident::shared_snapshot() const {
  return is_packed() ? nullptr : shared();
}

bool Resident::in_use() const {
  const uint32_t holders = is_stored() ? 2 : 1;
  return references_.load(std::memory_order_acquire) > holders ||
         (!is_packed() && shared().use_count() > 1);
}

}  // namespace flame
