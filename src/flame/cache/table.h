// Table: what the cache holds in memory, by key: the resident objects, and an entry for
// each key that is at work: while somebody writes it, its newest appended row ("head").
// Other keys are found in the store, so memory does not grow with what is only stored.
// Also the appended state of every hash slot.
//
// Sharded by slot: all keys of a slot, and the slot's own state, are under one lock.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <absl/container/flat_hash_set.h>
#include <absl/hash/hash.h>

#include "flame/base/mutex.h"
#include "flame/object/key.h"
#include "flame/object/snapshot.h"
#include "flame/storage/record.h"
#include "flame/storage/resident.h"

namespace flame {

/// By key; found with any string.
struct ResidentHash {
  using is_transparent = void;
  size_t operator()(std::string_view key) const { return absl::HashOf(key); }
  size_t operator()(const ResidentPtr& resident) const {
    return absl::HashOf(resident->key());
  }
};
struct ResidentEq {
  using is_transparent = void;
  static std::string_view KeyOf(std::string_view key) { return key; }
  static std::string_view KeyOf(const ResidentPtr& resident) { return resident->key(); }
  template <typename A, typename B>
  bool operator()(const A& a, const B& b) const {
    return KeyOf(a) == KeyOf(b);
  }
};
using ResidentSet = absl::flat_hash_set<ResidentPtr, ResidentHash, ResidentEq>;

/// What writers of a key work on. A row of nullopt: the key was never seen.
struct Head {
  std::optional<Row> appended;  // Newest, given to the commit lane: what the next write
                                // is judged against.
  // Newest that readers may see. The store may already hold a later one.
  std::optional<Row> published;
};

/// A key at work.
struct Entry {
  // Null: nobody writes, nor did lately; ask the store.
  std::unique_ptr<Head> head;
  int32_t pins = 0;      // Writers between looking at the head and appending.
  int32_t pending = 0;   // Appended commits that are not published yet.
  bool loading = false;  // Somebody is looking the head up.
  bool reading = false;  // Somebody is reading the payload from the store.
  bool warm = false;     // In the shard's `warm`.

  bool idle() const {
    return head == nullptr && pins == 0 && pending == 0 && !loading && !reading;
  }
};

struct Shard {
  Mutex mutex;
  CondVar changed;  // Of some entry loading or reading ended, or a commit was published.
  ResidentSet residents GUARDED_BY(mutex);
  std::unordered_map<std::string, Entry> entries GUARDED_BY(mutex);
  uint64_t publishes GUARDED_BY(mutex) =
      0;  // A reader compares it to know that nothing came between.

  // Keys whose heads are kept although nobody writes now, oldest first: who writes a key
  // often need not look it up each time.
  std::deque<std::string> warm GUARDED_BY(mutex);
  static constexpr size_t kWarmHeads = 16;

  /// Null: not resident, or absent.
  ResidentPtr FindResident(std::string_view key) const REQUIRES(mutex) {
    const auto found = residents.find(key);
    return found == residents.end() ? nullptr : *found;
  }

  /// A writer is done with the key: let its head go, or keep it warm. Tombstones go, so
  /// that they can be folded.
  void ReleaseHead(const std::string& key) REQUIRES(mutex) {
    Entry& entry = entries[key];
    if (entry.pins > 0 || entry.pending > 0) return;
    const bool live =
        entry.head != nullptr && entry.head->published && !entry.head->published->deleted;
    if (!live) {
      entry.head.reset();
    } else if (!entry.warm) {
      entry.warm = true;
      warm.push_back(key);
      if (warm.size() > kWarmHeads) CoolOldest();
    }
    DropIfIdle(key);
  }

  /// Forget the entry if nothing needs it.
  void DropIfIdle(const std::string& key) REQUIRES(mutex) {
    auto found = entries.find(key);
    if (found != entries.end() && found->second.idle()) entries.erase(found);
  }

 private:
  void CoolOldest() REQUIRES(mutex) {
    const std::string key = std::move(warm.front());
    warm.pop_front();
    const auto found = entries.find(key);
    if (found == entries.end()) return;
    Entry& entry = found->second;
    entry.warm = false;
    if (entry.pins == 0 && entry.pending == 0) entry.head.reset();
    DropIfIdle(key);
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
