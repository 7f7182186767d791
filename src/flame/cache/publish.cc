// Publishing: called by the commit lane, in order.
#include "flame/cache/cache_internal.h"

#include <utility>

#include "flame/base/error.h"
#include "flame/base/log.h"

namespace flame {

using arrow::Result;
using arrow::Status;

ResidentPtr Cache::Show(Shard* shard, const Key& of,
                        std::shared_ptr<const Snapshot> snapshot) {
  const std::string& key = of.text();
  const auto place = shard->residents.find(key);
  ResidentPtr old = place == shard->residents.end() ? nullptr : *place;
  ResidentPtr next;
  if (snapshot != nullptr) {
    const auto kind = snapshot->kind();
    const int64_t charge = ChargeOf(key, kind, snapshot->bytes, snapshot->patch_count);
    // Too large for memory: read from the store each time.
    if (!store_->is_persistent() || residency_.CanFit(charge)) {
      next = store_->Held(of, snapshot->seq);
      if (next != nullptr) {
        // Shown already. If not, it is in no queue yet, and its charge still ours to set.
        if (next == old) return nullptr;
        next->charge = charge;
      } else if (Resident::CanPack(kind, snapshot->patch_count, snapshot->bytes)) {
        next = Resident::Packed(key, *snapshot, charge);
      } else {
        next = Resident::Shared(key, std::move(snapshot), charge);
      }
    }
  }
  if (old == nullptr && next == nullptr) return nullptr;
  residency_.Set(old.get(), next.get());
  // The set looks at the keys of its members: the old one's is needed until it is out.
  if (old != nullptr) shard->residents.erase(place);
  if (next != nullptr) shard->residents.insert(std::move(next));
  return old;
}

void Cache::Retire(ResidentPtr resident) {
  if (resident == nullptr) return;
  if (auto shared = resident->shared_snapshot()) pool_->Retire(std::move(shared));
}

void Cache::Publish(const Publication& publication) {
  const Row& row = publication.row;
  feed_.BeforePublish(publication.event);
  ResidentPtr retired;
  {
    Shard& shard = table_.ShardOf(publication.event.key);
    MutexLock lock(shard.mutex);
    ++shard.publishes;
    const std::string& key = publication.event.key.text();
    Entry& entry = shard.entries[key];
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
        if (const auto resident = shard.FindResident(key);
            resident != nullptr && resident->seq() == publication.previous_seq) {
          const auto base = resident->snapshot();
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
    retired = Show(&shard, publication.event.key, std::move(next));
    if (entry.head != nullptr) entry.head->published = row;
    --entry.pending;
    shard.ReleaseHead(key);
    shard.changed.NotifyAll();
  }
  Retire(std::move(retired));
  feed_.AfterPublish(publication.event);
}

// A batch failed, and with it everything that was appended after it: forget all heads
// that were built on it.
void Cache::Abandon(const Status& why) {
  // The store says once that it refuses writes, not for each of them.
  if (store_->write_health().status.ok()) {
    FLAME_LOG_ERROR(cache, "commit failed: {}", why.ToString());
  } else {
    FLAME_LOG_DEBUG(cache, "commit failed: {}", why.ToString());
  }
  // The store has recovered, and may hold a commit now whose outcome was unknown before:
  // what is resident may be older than that, and nobody published it.
  const bool recovered = IsError(why, ErrorCode::kUnavailable);
  std::vector<ResidentPtr> retired;
  std::vector<std::unique_ptr<MutexLock>> locks;
  for (size_t i = 0; i < Table::kShards; ++i) {
    locks.push_back(std::make_unique<MutexLock>(table_.shard(i).mutex));
  }
  lane_.FailQueued(why);
  int64_t tombstones = 0;
  for (size_t i = 0; i < Table::kShards; ++i) {
    Shard& shard = table_.shard(i);
    if (recovered) {
      ++shard.publishes;  // Nor may a reader under way keep what it found.
      for (const ResidentPtr& resident : shard.residents) {
        residency_.Set(resident.get(), nullptr);
        retired.push_back(resident);
      }
      shard.residents.clear();
    }
    for (auto entry = shard.entries.begin(); entry != shard.entries.end();) {
      entry->second.head.reset();
      entry->second.pending = 0;
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
  for (ResidentPtr& resident : retired) Retire(std::move(resident));
  if (recovered) feed_.Lose();
}

}  // namespace flame
