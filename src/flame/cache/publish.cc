// Publishing: called by the commit lane, in order.
#include "flame/cache/cache_internal.h"

#include <utility>

#include "flame/base/error.h"
#include "flame/base/log.h"

namespace flame {

using arrow::Result;
using arrow::Status;

std::shared_ptr<const Snapshot> Cache::Show(const std::string& key, Entry* entry,
                                            std::shared_ptr<const Snapshot> snapshot) {
  int64_t charge = 0;
  if (snapshot != nullptr) {
    charge = ChargeOf(key, snapshot->bytes, snapshot->patch_count);
    // Too large for memory: read from the store each time.
    if (store_->is_persistent() && !residency_.CanFit(charge)) {
      snapshot = nullptr;
      charge = 0;
    }
  }
  residency_.Set(key, &entry->eviction, charge);
  return std::exchange(entry->published, std::move(snapshot));
}

void Cache::Publish(const Publication& publication) {
  const Row& row = publication.row;
  feed_.BeforePublish(publication.event);
  std::shared_ptr<const Snapshot> retired;
  {
    Shard& shard = table_.ShardOf(publication.event.key);
    MutexLock lock(shard.mutex);
    ++shard.publishes;
    const auto found = shard.entries.try_emplace(publication.event.key.text()).first;
    const std::string& key = found->first;
    Entry& entry = found->second;
    std::shared_ptr<const Snapshot> next;
    switch (publication.event.type) {
      case CommitEvent::Type::kPut: {
        StoredObject object{publication.payload, nullptr};
        for (const auto& [version, payload] : publication.patches) {
          object.last_patch = std::make_shared<const flame::Patch>(
              flame::Patch{version, payload, std::move(object.last_patch)});
        }
        next = MakeSnapshot(row, std::move(object));
        break;
      }
      case CommitEvent::Type::kPatch:
        // Extends what is resident, if that is what the patch was appended to; else the
        // next reader loads it all.
        if (const auto& base = entry.published;
            base != nullptr && base->seq == publication.previous_seq) {
          next = MakeSnapshot(
              row,
              {base->base, std::make_shared<const flame::Patch>(flame::Patch{
                               row.version, publication.payload, base->last_patch})});
        }
        break;
      case CommitEvent::Type::kDelete:
      case CommitEvent::Type::kExpire:
      case CommitEvent::Type::kEvict:
        break;
    }
    retired = Show(key, &entry, std::move(next));
    if (entry.head != nullptr) entry.head->published = row;
    --entry.pending;
    shard.ReleaseHead(publication.event.key.text());
    shard.changed.NotifyAll();
  }
  if (retired != nullptr) pool_->Retire(std::move(retired));
  feed_.AfterPublish(publication.event);
}

// A batch failed, and with it everything that was appended after it: forget all heads
// that were built on it.
void Cache::Abandon(const Status& why) {
  FLAME_LOG_ERROR(cache, "commit failed: {}", why.ToString());
  // The store has recovered, and may hold a commit now whose outcome was unknown before:
  // what is resident may be older than that, and nobody published it.
  const bool recovered = IsError(why, ErrorCode::kUnavailable);
  std::vector<std::shared_ptr<const Snapshot>> retired;
  std::vector<std::unique_ptr<MutexLock>> locks;
  for (size_t i = 0; i < Table::kShards; ++i) {
    locks.push_back(std::make_unique<MutexLock>(table_.shard(i).mutex));
  }
  lane_.FailQueued(why);
  int64_t tombstones = 0;
  for (size_t i = 0; i < Table::kShards; ++i) {
    Shard& shard = table_.shard(i);
    if (recovered) ++shard.publishes;  // Nor may a reader under way keep what it found.
    for (auto entry = shard.entries.begin(); entry != shard.entries.end();) {
      entry->second.head.reset();
      entry->second.pending = 0;
      if (recovered && entry->second.published != nullptr) {
        retired.push_back(Show(entry->first, &entry->second, nullptr));
      }
      entry = entry->second.idle() ? shard.entries.erase(entry) : std::next(entry);
    }
    shard.changed.NotifyAll();
  }
  for (int slot = 0; slot < kSlots; ++slot) {
    table_.slot(static_cast<uint16_t>(slot)) = store_->Slot(static_cast<uint16_t>(slot));
    tombstones += table_.slot(static_cast<uint16_t>(slot)).tombstones;
  }
  tombstones_ = tombstones;
  locks.clear();
  for (auto& snapshot : retired) pool_->Retire(std::move(snapshot));
  if (recovered) feed_.Lose();
}

}  // namespace flame
