#include "flame/cache/resident.h"

#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include <absl/hash/hash.h>

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

// What glibc's malloc keeps beside each allocation, and the steps that it comes in.
constexpr int64_t kMallocHeader = 8;
constexpr int64_t kMallocStep = 16;

}  // namespace

Resident::Resident(std::string_view key, Form form, uint16_t packed_bytes, int64_t charge)
    : packed_bytes_(packed_bytes),
      key_bytes_(static_cast<uint32_t>(key.size())),
      form_(std::move(form)) {
  static_assert(sizeof(Resident) == 80, "a field was added where it costs padding");
  this->charge = charge;
  this->hash = static_cast<uint32_t>(absl::HashOf(key));
  std::memcpy(tail(), key.data(), key.size());
}

ResidentPtr Resident::Make(std::string_view key, Form form, uint16_t packed_bytes,
                           int64_t charge) {
  void* place = ::operator new(sizeof(Resident) + key.size() + packed_bytes);
  return new (place) Resident(key, std::move(form), packed_bytes, charge);
}

ResidentPtr Resident::Packed(std::string_view key, const Snapshot& snapshot,
                             int64_t charge) {
  static_assert(kMaxPackedBytes <= std::numeric_limits<uint16_t>::max());
  auto resident = Make(key,
                       PackedFields{snapshot.version, snapshot.seq, snapshot.modified_ms,
                                    snapshot.expires_at_ms},
                       static_cast<uint16_t>(snapshot.bytes), charge);
  char* at = resident->tail() + key.size();
  for (const auto& chunk : snapshot.base->chunks()) {
    std::memcpy(at, chunk->data(), static_cast<size_t>(chunk->size()));
    at += chunk->size();
  }
  return resident;
}

ResidentPtr Resident::Shared(std::string_view key,
                             std::shared_ptr<const Snapshot> snapshot, int64_t charge) {
  return Make(key, std::move(snapshot), 0, charge);
}

void intrusive_ptr_release(Resident* resident) {
  if (resident->references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  resident->~Resident();
  ::operator delete(static_cast<void*>(resident));
}

int64_t Resident::PackedFootprint(int64_t key_bytes, int64_t bytes) {
  const int64_t asked =
      static_cast<int64_t>(sizeof(Resident)) + key_bytes + bytes + kMallocHeader;
  return (asked + kMallocStep - 1) / kMallocStep * kMallocStep;
}

Version Resident::version() const {
  if (const auto* packed = std::get_if<PackedFields>(&form_)) return packed->version;
  return std::get<1>(form_)->version;
}

uint64_t Resident::seq() const {
  if (const auto* packed = std::get_if<PackedFields>(&form_)) return packed->seq;
  return std::get<1>(form_)->seq;
}

int64_t Resident::expires_at_ms() const {
  if (const auto* packed = std::get_if<PackedFields>(&form_)) {
    return packed->expires_at_ms;
  }
  return std::get<1>(form_)->expires_at_ms;
}

int64_t Resident::bytes() const {
  const auto shared = shared_snapshot();
  return shared == nullptr ? packed_bytes_ : shared->bytes;
}

Kind Resident::kind() const {
  const auto* shared = std::get_if<1>(&form_);
  return shared == nullptr ? Kind::kOpaque : (*shared)->kind();
}

std::shared_ptr<const Snapshot> Resident::snapshot() {
  if (auto shared = shared_snapshot()) return shared;
  const auto& packed = std::get<PackedFields>(form_);
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->version = snapshot->base_version = packed.version;
  snapshot->seq = packed.seq;
  snapshot->modified_ms = packed.modified_ms;
  snapshot->expires_at_ms = packed.expires_at_ms;
  snapshot->base = Payload::Opaque(
      {std::make_shared<PackedBytes>(this, tail() + key_bytes_, packed_bytes_)});
  snapshot->bytes = packed_bytes_;
  return snapshot;
}

std::shared_ptr<const Snapshot> Resident::shared_snapshot() const {
  const auto* shared = std::get_if<1>(&form_);
  return shared == nullptr ? nullptr : *shared;
}

bool Resident::in_use() const {
  const auto* shared = std::get_if<1>(&form_);
  return references_.load(std::memory_order_acquire) > 1 ||
         (shared != nullptr && shared->use_count() > 1);
}

}  // namespace flame
