#include "flame/storage/memory_store.h"

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/storage/runtime_file.h"
#include "flame/storage/uuid.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;

/// Bytes in hand.
class HeapStaged final : public StagedPayload {
 public:
  explicit HeapStaged(std::shared_ptr<const Payload> payload) {
    location_.type = Location::Type::kHeap;
    payload_ = std::move(payload);
  }
};

Status Replaced(const Key& key) {
  return MakeError(ErrorCode::kStale, fmt::format("{} has been replaced", key.text()));
}

}  // namespace

MemoryStore::Live::Live(const Key& key, Row row, StoredObject object) {
  if (object.last_patch == nullptr && Resident::HasPackedForm(row, *object.base)) {
    form_ = Resident::Stored(key.text(), row, *object.base);
  } else {
    row.base.type = Location::Type::kHeap;
    form_ = std::make_unique<const Loose>(Loose{key, std::move(row), std::move(object)});
  }
}

std::string_view MemoryStore::Live::key() const {
  if (const ResidentPtr* resident = packed()) return (*resident)->key();
  return std::get<1>(form_)->key.text();
}

Row MemoryStore::Live::row() const {
  if (const ResidentPtr* resident = packed()) return (*resident)->row();
  return std::get<1>(form_)->row;
}

StoredObject MemoryStore::Live::object() const {
  if (const ResidentPtr* resident = packed()) return {(*resident)->snapshot()->base, {}};
  return std::get<1>(form_)->object;
}

Result<std::unique_ptr<MemoryStore>> MemoryStore::Open(
    const MemoryStoreOptions& options) {
  std::string id = NewUuid();
  std::unique_ptr<RuntimeFile> runtime;
  if (!options.runtime_file.empty()) {
    ARROW_ASSIGN_OR_RAISE(runtime, RuntimeFile::Open(options.runtime_file, id));
  }
  return std::unique_ptr<MemoryStore>(new MemoryStore(std::move(id), std::move(runtime)));
}

MemoryStore::MemoryStore(std::string id, std::unique_ptr<RuntimeFile> runtime)
    : id_(std::move(id)), runtime_(std::move(runtime)), slots_(kSlots) {
  if (runtime_ == nullptr) return;
  for (int slot = 0; slot < kSlots; ++slot) {
    slots_[static_cast<size_t>(slot)].floor =
        runtime_->Highest(static_cast<uint16_t>(slot));
  }
}

MemoryStore::~MemoryStore() = default;

Result<std::shared_ptr<StagedPayload>> MemoryStore::StageBase(
    const Key& key, std::shared_ptr<const Payload> payload, Version version) {
  return std::make_shared<HeapStaged>(std::move(payload));
}

Result<std::shared_ptr<StagedPayload>> MemoryStore::StagePatch(
    const Key& key, std::shared_ptr<const Payload> payload, Version version) {
  return std::make_shared<HeapStaged>(std::move(payload));
}

Result<uint64_t> MemoryStore::Commit(CommitBatch batch, Durability durability) {
  MutexLock lock(mutex_);
  if (runtime_ != nullptr) {
    // Before anyone sees the versions.
    for (const Mutation& mutation : batch.mutations) {
      runtime_->Raise(mutation.key.slot(), mutation.row.version);
    }
    for (const auto& [slot, state] : batch.slots) runtime_->Raise(slot, state.floor);
  }
  // Folded tombstones are from before this batch; one that a mutation of it writes is
  // another.
  for (const auto& folded : batch.folded) tombstones_.erase(folded);
  for (Mutation& mutation : batch.mutations) ApplyLocked(std::move(mutation));
  for (const auto& [slot, state] : batch.slots) slots_[slot] = state;
  return ++position_;
}

void MemoryStore::ApplyLocked(Mutation mutation) {
  const Key& key = mutation.key;
  auto found = live_.find(key.text());
  StoredObject object;
  if (found != live_.end()) {
    const Row old = found->row();
    expiry_.erase({old.expires_at_ms, key.text()});
    bytes_ -= old.base_bytes + old.patch_bytes;
    if (mutation.base == nullptr && !mutation.row.deleted) object = found->object();
    live_.erase(found);
  }
  const std::pair tombstone(key.slot(), key.text());
  if (mutation.row.deleted) {
    tombstones_.insert_or_assign(tombstone, Tombstone{key, std::move(mutation.row)});
    return;
  }
  if (!mutation.previous || mutation.previous->deleted) tombstones_.erase(tombstone);

  bytes_ += mutation.row.base_bytes + mutation.row.patch_bytes;
  if (mutation.base != nullptr) object.base = mutation.base->payload();
  for (const auto& [version, staged] : mutation.patches) {
    object.last_patch = std::make_shared<Patch>(
        Patch{version, staged->payload(), std::move(object.last_patch)});
  }
  if (mutation.row.expires_at_ms != 0) {
    expiry_.emplace(mutation.row.expires_at_ms, key.text());
  }
  live_.emplace(key, std::move(mutation.row), std::move(object));
}

Store::Stats MemoryStore::stats() const {
  Stats stats;
  MutexLock lock(mutex_);
  stats.objects_estimate = std::ssize(live_);
  stats.bytes_estimate = bytes_;
  return stats;
}

Result<std::optional<Row>> MemoryStore::Find(const Key& key) const {
  MutexLock lock(mutex_);
  if (const auto live = live_.find(key.text()); live != live_.end()) return live->row();
  const auto dead = tombstones_.find({key.slot(), key.text()});
  if (dead != tombstones_.end()) return dead->second.row;
  return std::nullopt;
}

Result<StoredObject> MemoryStore::Read(const Key& key, const Row& row) const {
  MutexLock lock(mutex_);
  const auto found = live_.find(key.text());
  if (found == live_.end() || found->row().base_version != row.base_version) {
    return Replaced(key);
  }
  StoredObject object = found->object();
  // The caller's row may be older than patches that came since.
  while (object.last_patch != nullptr && object.last_patch->version > row.version) {
    object.last_patch = object.last_patch->previous;
  }
  return object;
}

ResidentPtr MemoryStore::Held(const Key& key, uint64_t seq) const {
  MutexLock lock(mutex_);
  const auto found = live_.find(key.text());
  const ResidentPtr* packed = found == live_.end() ? nullptr : found->packed();
  return packed != nullptr && (*packed)->seq() == seq ? *packed : nullptr;
}

Result<std::vector<std::pair<Key, Row>>> MemoryStore::Scan(const std::string& prefix,
                                                           const std::string& after,
                                                           int64_t limit) const {
  std::vector<std::pair<Key, Row>> page;
  MutexLock lock(mutex_);
  auto next = after < prefix ? live_.lower_bound(prefix) : live_.upper_bound(after);
  for (; next != live_.end() && std::ssize(page) < limit; ++next) {
    if (!next->key().starts_with(prefix)) break;
    page.emplace_back(Key::OfText(next->key()), next->row());
  }
  return page;
}

Result<std::vector<std::pair<int64_t, Key>>> MemoryStore::DueBefore(int64_t wall_ms,
                                                                    int64_t limit) const {
  std::vector<std::pair<int64_t, Key>> due;
  MutexLock lock(mutex_);
  for (const auto& [at, text] : expiry_) {
    if (at > wall_ms || std::ssize(due) >= limit) break;
    due.emplace_back(at, Key::OfText(text));
  }
  return due;
}

SlotState MemoryStore::Slot(uint16_t slot) const {
  MutexLock lock(mutex_);
  return slots_[slot];
}

Result<std::vector<std::pair<Key, Row>>> MemoryStore::Tombstones(uint16_t slot) const {
  std::vector<std::pair<Key, Row>> rows;
  MutexLock lock(mutex_);
  for (auto next = tombstones_.lower_bound({slot, std::string()});
       next != tombstones_.end() && next->first.first == slot; ++next) {
    rows.emplace_back(next->second.key, next->second.row);
  }
  return rows;
}

Result<std::vector<std::pair<Key, Row>>> MemoryStore::RecoverDirty() const {
  return std::vector<std::pair<Key, Row>>{};
}

Status MemoryStore::MarkClean(const Key& key, uint64_t seq,
                              std::shared_ptr<StagedPayload> written) {
  return Status::OK();
}

Result<std::optional<ForeignObject>> MemoryStore::ReadForeign(const Key& key,
                                                              const Row* row) const {
  return std::nullopt;
}

Result<std::shared_ptr<StagedPayload>> MemoryStore::AdoptBase(
    const Key& key, const ForeignObject& object) {
  return InvalidError(fmt::format("{}: storage `none` holds no files", key.text()));
}

Result<std::vector<Key>> MemoryStore::Strays(const std::string& prefix,
                                             int64_t limit) const {
  return std::vector<Key>{};
}

Status MemoryStore::Close() { return Status::OK(); }

}  // namespace flame
