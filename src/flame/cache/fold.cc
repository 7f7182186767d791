// Folding tombstones into the floors of their slots.
#include "flame/cache/cache_internal.h"

#include <algorithm>
#include <limits>

#include "flame/base/log.h"

namespace flame {

using arrow::Result;
using arrow::Status;

Status Cache::FoldIfMany() {
  while (tombstones_ > options_.max_tombstones) {
    uint16_t fullest = 0;
    int64_t most = 0;
    for (int slot = 0; slot < kSlots; ++slot) {
      Shard& shard = table_.shard(Table::ShardIndex(static_cast<uint16_t>(slot)));
      MutexLock lock(shard.mutex);
      if (table_.slot(static_cast<uint16_t>(slot)).tombstones > most) {
        most = table_.slot(static_cast<uint16_t>(slot)).tombstones;
        fullest = static_cast<uint16_t>(slot);
      }
    }
    if (most == 0) return Status::OK();
    const int64_t before = tombstones_;
    ARROW_RETURN_NOT_OK(FoldSlot(fullest, std::numeric_limits<int64_t>::max()));
    if (tombstones_ >= before)
      return Status::OK();  // Busy keys: another delete will try again.
  }
  return Status::OK();
}

Status Cache::FoldOldTombstones(std::chrono::milliseconds age) {
  const int64_t until_ms = clock_->WallMs() - age.count();
  for (int slot = 0; slot < kSlots; ++slot) {
    Shard& shard = table_.shard(Table::ShardIndex(static_cast<uint16_t>(slot)));
    {
      MutexLock lock(shard.mutex);
      if (table_.slot(static_cast<uint16_t>(slot)).tombstones == 0) continue;
    }
    ARROW_RETURN_NOT_OK(FoldSlot(static_cast<uint16_t>(slot), until_ms));
  }
  return Status::OK();
}

Status Cache::FoldSlot(uint16_t slot, int64_t until_ms) {
  ENTER_OR_RETURN();
  Shard& shard = table_.shard(Table::ShardIndex(slot));
  uint64_t publishes = 0;
  {
    MutexLock lock(shard.mutex);
    publishes = shard.publishes;
  }
  ARROW_ASSIGN_OR_RAISE(const auto tombstones, store_->Tombstones(slot));
  PendingCommit commit;
  {
    MutexLock lock(shard.mutex);
    if (shard.publishes != publishes) return Status::OK();
    SlotState& state = table_.slot(slot);
    for (const auto& [key, row] : tombstones) {
      if (row.wall_ms > until_ms) continue;
      const auto entry = shard.entries.find(key.text());
      if (entry != shard.entries.end()) continue;  // Somebody is about to write it.
      state.floor = std::max(state.floor, row.version);
      state.fold_seq = std::max(state.fold_seq, row.seq);
      --state.tombstones;
      --tombstones_;
      commit.batch.folded.emplace_back(slot, key.text());
    }
    if (commit.batch.folded.empty()) return Status::OK();
    commit.batch.slots.emplace_back(slot, state);
    lane_.Append(&commit);
  }
  FLAME_LOG_DEBUG(cache, "folded {} tombstones of slot {}", commit.batch.folded.size(),
                  slot);
  return lane_.Await(&commit);
}

}  // namespace flame
