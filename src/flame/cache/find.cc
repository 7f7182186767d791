// Finding the newest state of a key: in the table, in the store, or in a file that
// another program left.
#include "flame/cache/cache_internal.h"

#include <algorithm>

#include "flame/base/log.h"

namespace flame {

using arrow::Result;
using arrow::Status;

namespace {

Version VersionOf(const Head& head) { return head.appended ? head.appended->version : 0; }

}  // namespace

Cache::Pins::~Pins() {
  for (const Key& key : keys_) {
    Shard& shard = cache_->table_.ShardOf(key);
    MutexLock lock(shard.mutex);
    Entry& entry = shard.entries[key.text()];
    --entry.pins;
    shard.ReleaseHead(key.text());
  }
}

Result<Version> Cache::Pins::Add(const Key& key, bool may_be_foreign) {
  Shard& shard = cache_->table_.ShardOf(key);
  MutexLock lock(shard.mutex);
  {
    Entry& entry = shard.entries[key.text()];
    ++entry.pins;
    keys_.push_back(key);
    while (entry.head == nullptr && entry.loading) shard.changed.Wait(lock);
    if (entry.head != nullptr) return VersionOf(*entry.head);
    entry.loading = true;
  }
  lock.Unlock();
  auto row = cache_->LoadHead(key, may_be_foreign);
  lock.Lock();
  Entry& entry = shard.entries[key.text()];
  entry.loading = false;
  shard.changed.NotifyAll();
  if (!row.ok()) return row.status();
  // A failed batch may have dropped the head of an adoption; the row from the store
  // is what holds.
  if (entry.head == nullptr) entry.head = std::make_unique<Head>(Head{*row, *row});
  return VersionOf(*entry.head);
}

Result<std::optional<Row>> Cache::FindRow(const Key& key) {
  Shard& shard = table_.ShardOf(key);
  auto published = [&](std::optional<Row>* row) {
    MutexLock lock(shard.mutex);
    const auto found = shard.entries.find(key.text());
    if (found == shard.entries.end() || found->second.head == nullptr) return false;
    *row = found->second.head->published;
    return true;
  };
  while (true) {
    std::optional<Row> row;
    if (published(&row)) return row;
    ARROW_ASSIGN_OR_RAISE(row, store_->Find(key));
    // A writer came meanwhile: what we found may be his, committed and not yet
    // published.
    if (published(&row)) return row;
    const bool unread = row && !row->deleted && row->base.type == Location::Type::kUnread;
    if (!key.is_object() || (row && !unread)) return row;
    // Another program may have left a file for this key: look for it as a writer
    // would, which takes it in.
    Pins pins(this);
    ARROW_RETURN_NOT_OK(pins.Add(key, /*may_be_foreign=*/true).status());
    if (published(&row)) return row;
  }
}

Result<std::optional<Row>> Cache::LoadHead(const Key& key, bool may_be_foreign) {
  ARROW_ASSIGN_OR_RAISE(auto row, store_->Find(key));
  const bool unread = row && !row->deleted && row->base.type == Location::Type::kUnread;
  if (unread || (!row && may_be_foreign && key.is_object())) {
    ARROW_ASSIGN_OR_RAISE(const bool adopted, Adopt(key, row));
    if (adopted) return store_->Find(key);
  }
  return row;
}

// Runs with `loading` set on the key's entry, so that no other writer decides about
// the key meanwhile.
Result<bool> Cache::Adopt(const Key& key, const std::optional<Row>& row) {
  ARROW_ASSIGN_OR_RAISE(auto foreign, store_->ReadForeign(key, row ? &*row : nullptr));
  if (!foreign && !row) return false;

  PendingCommit commit;
  commit.durability = options_.durability;
  Mutation mutation{key, Row{}, row, nullptr, {}};
  Publication publication{
      {CommitEvent::Type::kPut, key}, Row{}, row ? row->seq : 0, nullptr, {}};
  Row& next = mutation.row;
  next.wall_ms = clock_->WallMs();
  if (foreign) {
    ARROW_ASSIGN_OR_RAISE(mutation.base, store_->AdoptBase(key, *foreign));
    publication.payload = foreign->base;
    next.kind = foreign->base->kind();
    next.base_bytes = foreign->base->size();
    next.base = mutation.base->location();
    if (mutation.base->has_checksum()) next.checksum = mutation.base->checksum();
    if (next.kind == Kind::kNative) {
      ARROW_ASSIGN_OR_RAISE(next.schema, EncodeSchema(*foreign->base->schema()));
    }
    next.patch_count = static_cast<int32_t>(foreign->patches.size());
    for (const auto& [version, payload] : foreign->patches) {
      ARROW_ASSIGN_OR_RAISE(auto staged, store_->StagePatch(key, payload, version));
      mutation.patches.emplace_back(version, std::move(staged));
      next.patch_bytes += payload->size();
    }
  }

  Shard& shard = table_.ShardOf(key);
  {
    MutexLock lock(shard.mutex);
    SlotState& slot = table_.slot(key.slot());
    next.seq = ++slot.last_seq;
    if (foreign) {
      // The newest version is the file's, so that clients that hold it stay right;
      // base and patches are made dense.
      const Version newest = foreign->patches.empty() ? foreign->base_version
                                                      : foreign->patches.back().first;
      const Version patches = static_cast<Version>(foreign->patches.size());
      next.version = std::max({newest, slot.floor + 1 + patches, patches + 1});
      if (slot.generation > 0) {
        next.version =
            std::max(next.version,
                     static_cast<Version>(slot.generation << kGenerationShift) + patches);
      }
      next.base_version = next.version - patches;
      for (size_t i = 0; i < mutation.patches.size(); ++i) {
        mutation.patches[i].first = next.base_version + 1 + static_cast<Version>(i);
        publication.patches.emplace_back(mutation.patches[i].first,
                                         foreign->patches[i].second);
      }
    } else {
      // The file could not be read, and with it the version is lost: whatever it was,
      // the next one is above it.
      next.deleted = true;
      next.version = (Version{1} << kGenerationShift) - 1;
      publication.event.type = CommitEvent::Type::kDelete;
      ++slot.tombstones;
      ++tombstones_;
    }
    publication.row = next;
    publication.event.seq = next.seq;
    publication.event.version = next.version;
    publication.event.kind = next.kind;
    commit.batch.mutations.push_back(std::move(mutation));
    commit.batch.slots.emplace_back(key.slot(), slot);
    commit.publications.push_back(std::move(publication));
    ++shard.entries[key.text()].pending;
    lane_.Append(&commit);
  }
  ARROW_RETURN_NOT_OK(lane_.Await(&commit));
  FLAME_LOG_DEBUG(cache, "adopted key={} version={}", key.text(), next.version);
  return true;
}
}  // namespace flame
