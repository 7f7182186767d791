#include "flame/cache/resident.h"

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

Resident::Resident(std::string_view key, uint16_t packed_bytes, int64_t charge)
    : packed_bytes_(packed_bytes), key_bytes_(static_cast<uint32_t>(key.size())) {
  static_assert(sizeof(Resident) == 40, "a field was added where it costs padding");
  this->charge = charge;
  this->hash = static_cast<uint32_t>(absl::HashOf(key));
}

ResidentPtr Resident::Make(std::string_view key, uint16_t packed_bytes, int64_t charge,
                           size_t tail_bytes) {
  void* place = ::operator new(sizeof(Resident) + tail_bytes);
  return new (place) Resident(key, packed_bytes, charge);
}

ResidentPtr Resident::Packed(std::string_view key, const Snapshot& snapshot,
                             int64_t charge) {
  static_assert(kMaxPackedBytes < kShared);
  std::string fields;
  Encoder encoder(&fields);
  encoder.Varint(static_cast<uint64_t>(snapshot.version));
  encoder.Varint(snapshot.seq);
  encoder.Varint(static_cast<uint64_t>(snapshot.modified_ms));
  encoder.Varint(static_cast<uint64_t>(snapshot.expires_at_ms));
  const auto bytes = static_cast<size_t>(snapshot.bytes);
  auto resident = Make(key, static_cast<uint16_t>(bytes), charge,
                       1 + fields.size() + key.size() + bytes);
  char* at = resident->tail();
  auto append = [&at](const void* from, size_t size) {
    if (size != 0) std::memcpy(at, from, size);
    at += size;
  };
  *at++ = static_cast<char>(fields.size());
  append(fields.data(), fields.size());
  append(key.data(), key.size());
  for (const auto& chunk : snapshot.base->chunks()) {
    append(chunk->data(), static_cast<size_t>(chunk->size()));
  }
  return resident;
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

const char* Resident::key_start() const {
  return tail() + (is_packed() ? 1 + static_cast<uint8_t>(*tail())
                               : static_cast<int>(sizeof(SharedSnapshot)));
}

Resident::Fields Resident::fields() const {
  Decoder decoder({tail() + 1, static_cast<uint8_t>(*tail())});
  Fields fields;
  fields.version = static_cast<Version>(decoder.Varint());
  fields.seq = decoder.Varint();
  fields.modified_ms = static_cast<int64_t>(decoder.Varint());
  fields.expires_at_ms = static_cast<int64_t>(decoder.Varint());
  return fields;
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

int64_t Resident::bytes() const { return is_packed() ? packed_bytes_ : shared()->bytes; }

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
      {std::make_shared<PackedBytes>(this, packed_data(), packed_bytes_)});
  snapshot->bytes = packed_bytes_;
  return snapshot;
}

std::shared_ptr<const Snapshot> Resident::shared_snapshot() const {
  return is_packed() ? nullptr : shared();
}

bool Resident::in_use() const {
  return references_.load(std::memory_order_acquire) > 1 ||
         (!is_packed() && shared().use_count() > 1);
}

}  // namespace flame
