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
    location_.heap = payload;
    payload_ = std::move(payload);
  }
};

Status Replaced(const Key& key) {
  return MakeError(ErrorCode::kStale, fmt::format("{} has been replaced", key.text()));
}

}  // namespace

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
  const auto found = rows_.find(key.text());
  if (found != rows_.end()) {
    expiry_.erase({found->second.row.expires_at_ms, key.text()});
    bytes_ -= found->second.row.base_bytes + found->second.row.patch_bytes;
  }
  const std::pair tombstone(key.slot(), key.text());
  if (mutation.row.deleted) {
    if (found != rows_.end()) rows_.erase(found);
    tombstones_.insert_or_assign(tombstone, Entry{key, std::move(mutation.row), nullptr});
    return;
  }
  if (!mutation.previous || mutation.previous->deleted) tombstones_.erase(tombstone);

  bytes_ += mutation.row.base_bytes + mutation.row.patch_bytes;
  Entry entry{key, std::move(mutation.row), nullptr};
  if (mutation.base != nullptr) {
    entry.row.base = mutation.base->location();
  } else if (found != rows_.end()) {
    entry.row.base = found->second.row.base;
    entry.last_patch = found->second.last_patch;
  }
  for (const auto& [version, staged] : mutation.patches) {
    entry.last_patch = std::make_shared<Patch>(
        Patch{version, staged->payload(), std::move(entry.last_patch)});
  }
  if (entry.row.expires_at_ms != 0) expiry_.emplace(entry.row.expires_at_ms, key.text());
  if (found != rows_.end()) {
    found->second = std::move(entry);
  } else {
    rows_.emplace(key.text(), std::move(entry));
  }
}

Store::Stats MemoryStore::stats() const {
  Stats stats;
  MutexLock lock(mutex_);
  stats.objects_estimate = std::ssize(rows_);
  stats.bytes_estimate = bytes_;
  return stats;
}

Result<std::optional<Row>> MemoryStore::Find(const Key& key) const {
  MutexLock lock(mutex_);
  if (const auto live = rows_.find(key.text()); live != rows_.end())
    return live->second.row;
  const auto dead = tombstones_.find({key.slot(), key.text()});
  if (dead != tombstones_.end()) return dead->second.row;
  return std::nullopt;
}

Result<StoredObject> MemoryStore::Read(const Key& key, const Row& row) const {
  MutexLock lock(mutex_);
  const auto found = rows_.find(key.text());
  if (found == rows_.end() || found->second.row.base_version != row.base_version) {
    return Replaced(key);
  }
  StoredObject object{found->second.row.base.heap, found->second.last_patch};
  // The caller's row may be older than patches that came since.
  while (object.last_patch != nullptr && object.last_patch->version > row.version) {
    object.last_patch = object.last_patch->previous;
  }
  return object;
}

Result<std::vector<std::pair<Key, Row>>> MemoryStore::Scan(const std::string& prefix,
                                                           const std::string& after,
                                                           int64_t limit) const {
  std::vector<std::pair<Key, Row>> page;
  MutexLock lock(mutex_);
  auto next = after < prefix ? rows_.lower_bound(prefix) : rows_.upper_bound(after);
  for (; next != rows_.end() && std::ssize(page) < limit; ++next) {
    if (!next->first.starts_with(prefix)) break;
    page.emplace_back(next->second.key, next->second.row);
  }
  return page;
}

Result<std::vector<std::pair<int64_t, Key>>> MemoryStore::DueBefore(int64_t wall_ms,
                                                                    int64_t limit) const {
  std::vector<std::pair<int64_t, Key>> due;
  MutexLock lock(mutex_);
  for (const auto& [at, text] : expiry_) {
    if (at > wall_ms || std::ssize(due) >= limit) break;
    due.emplace_back(at, rows_.at(text).key);
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
