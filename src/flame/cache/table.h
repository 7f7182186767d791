// Table: what the cache holds in memory, by key: the published snapshot of resident
// objects, and, while somebody writes a key, its newest appended row ("head"). Other keys
// are found in the store, so memory does not grow with what is only stored. Also the
// appended state of every hash slot.
//
// Sharded by slot: all keys of a slot, and the slot's own state, are under one lock.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "flame/base/mutex.h"
#include "flame/cache/eviction_policy.h"
#include "flame/object/key.h"
#include "flame/object/snapshot.h"
#include "flame/storage/record.h"

namespace flame {

/// What writers of a key work on. A row of nullopt: the key was never seen.
struct Head {
  std::optional<Row> appended;  // Newest, given to the commit lane: what the next write
                                // is judged against.
  // Newest that readers may see. The store may already hold a later one.
  std::optional<Row> published;
};

struct Entry {
  std::shared_ptr<const Snapshot> published;  // Null: not resident, or absent.
  std::unique_ptr<Head> head;                 // Null: nobody writes; ask the store.
  int32_t pins = 0;       // Writers between looking at the head and appending.
  int32_t pending = 0;    // Appended commits that are not published yet.
  bool loading = false;   // Somebody is looking the head up.
  bool reading = false;   // Somebody is reading the payload from the store.
  EvictionNode eviction;  // Counted and queued while `published` is set.

  bool idle() const {
    return published == nullptr && head == nullptr && pins == 0 && pending == 0 &&
           !loading && !reading;
  }
};

struct Shard {
  Mutex mutex;
  CondVar changed;  // Of some entry loading or reading ended, or a commit was published.
  std::unordered_map<std::string, Entry> entries GUARDED_BY(mutex);
  uint64_t publishes GUARDED_BY(mutex) =
      0;  // A reader compares it to know that nothing came between.

  /// Forget the entry if nothing needs it.
  void DropIfIdle(const std::string& key) REQUIRES(mutex) {
    auto found = entries.find(key);
    if (found != entries.end() && found->second.idle()) entries.erase(found);
  }
};

class Table {
 public:
  // A failed batch locks all of them; ThreadSanitizer follows at most 64 locks at a time.
  static constexpr size_t kShards = 32;
  static size_t ShardIndex(uint16_t slot) { return slot % kShards; }

  Shard& ShardOf(const Key& key) { return shards_[ShardIndex(key.slot())]; }
  Shard& shard(size_t index) { return shards_[index]; }
  /// Appended state of a slot. REQUIRES: the lock of its shard.
  SlotState& slot(uint16_t slot) { return slots_[slot]; }

 private:
  std::array<Shard, kShards> shards_;
  std::vector<SlotState> slots_ = std::vector<SlotState>(kSlots);
};

}  // namespace flame
