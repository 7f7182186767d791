// Letting objects go: what memory has no room for, and what has expired
// (docs/internals/eviction.md).
#include "flame/cache/cache_internal.h"

#include <algorithm>

#include "flame/base/log.h"

namespace flame {

using arrow::Result;
using arrow::Status;

namespace {

constexpr int64_t kPage = 500;  // Keys per log record.
constexpr size_t kMaxBusy =
    64;  // In use and passed over, before somebody else tries again.

// What an object costs beside its payload and key, rounded up from what the allocator
// hands out: its place in the table; unless it is packed, the snapshot, payload and
// buffer; and its place in a store in memory, with the row if it is not packed.
// memory_cost_test.cc compares.
constexpr int64_t kTablePlace = 20;
constexpr int64_t kObjectOverhead = 850;
constexpr int64_t kStorePlace = 24;
constexpr int64_t kRowOverhead = 500;
constexpr int64_t kPatchOverhead = 250;

}  // namespace

int64_t Cache::ChargeOf(const std::string& key, Kind kind, int64_t bytes,
                        int32_t patches) const {
  if (Resident::CanPack(kind, patches, bytes)) {
    return kTablePlace +
           (store_->is_persistent()
                ? Resident::PackedFootprint(std::ssize(key), bytes)
                : Resident::StoredFootprint(std::ssize(key), bytes) + kStorePlace);
  }
  return bytes + std::ssize(key) + kObjectOverhead +
         (store_->is_persistent() ? 0 : kRowOverhead) + patches * kPatchOverhead;
}

// Objects that were chosen and are about to be let go, as one log record.
class Cache::Victims {
 public:
  explicit Victims(Cache* cache) : cache_(cache) {}

  bool HaveEnough() const {
    return ops_.size() == kPage || !cache_->residency_.IsOver(bytes_, std::ssize(ops_));
  }

  /// False: it is in use now, or is `keep`, and stays; to be put back.
  bool Add(const std::string& text, const Key* keep) {
    Key key = Key::OfText(text);
    Shard& shard = cache_->table_.ShardOf(key);
    ResidentPtr dropped;
    MutexLock lock(shard.mutex);
    const auto place = shard.residents.find(text);
    if (place == shard.residents.end()) return true;
    Resident& resident = **place;
    if (resident.queue != 0) return true;  // Written anew meanwhile.
    // Its bytes would stay as long as somebody reads them.
    if (resident.in_use() || (keep != nullptr && key == *keep)) return false;
    if (cache_->store_->is_persistent()) {
      cache_->counters_.evicted_bytes += resident.bytes();
      ++cache_->counters_.evicted_objects;
      dropped = cache_->Show(&shard, key, nullptr);
      lock.Unlock();  // Before the bytes go.
      cache_->Retire(std::move(dropped));
      return true;
    }
    bytes_ += resident.charge;
    payload_bytes_.push_back(resident.bytes());
    ops_.push_back({.type = Op::Type::kEvict,
                    .key = std::move(key),
                    .payload = nullptr,
                    .only_seq = resident.seq()});
    return true;
  }

  /// Without a storage an object that leaves memory is gone: delete it as a client would.
  Status Delete() {
    if (ops_.empty()) return Status::OK();
    const auto written = cache_->Write({}, {}, ops_);
    if (!written.ok()) {
      for (const Op& op : ops_) cache_->PutBack(op.key);
      return written.status();
    }
    const auto& results = *written;
    for (size_t i = 0; i < results.size(); ++i) {
      if (results[i].version == 0) continue;  // Written anew meanwhile.
      ++cache_->counters_.evicted_objects;
      cache_->counters_.evicted_bytes += payload_bytes_[i];
    }
    return cache_->FoldIfMany();
  }

 private:
  Cache* const cache_;
  std::vector<Op> ops_;
  std::vector<int64_t> payload_bytes_;
  int64_t bytes_ = 0;  // The charge of all of `ops_`.
};

void Cache::PutBack(const Key& key) {
  Shard& shard = table_.ShardOf(key);
  MutexLock lock(shard.mutex);
  const auto resident = shard.FindResident(key.text());
  if (resident != nullptr) residency_.PutBack(resident.get());
}

Status Cache::EvictToLimits(const Key* keep) {
  if (!residency_.IsOver()) return Status::OK();
  ENTER_OR_RETURN();
  MutexLock lock(evict_mutex_);
  // Put back at the end: a policy may well choose the same one again.
  std::vector<Key> busy;
  Status status;
  while (status.ok() && residency_.IsOver() && busy.size() < kMaxBusy) {
    Victims victims(this);
    bool any = false;
    while (!victims.HaveEnough() && busy.size() < kMaxBusy) {
      const auto victim = residency_.TakeVictim();
      if (!victim) break;
      any = true;
      if (!victims.Add(*victim, keep)) busy.push_back(Key::OfText(*victim));
    }
    if (!any) break;
    status = victims.Delete();
  }
  for (const Key& key : busy) PutBack(key);
  return status;
}

Result<int64_t> Cache::ReapExpired() {
  ENTER_OR_RETURN();
  int64_t reaped = 0;
  while (true) {
    ARROW_ASSIGN_OR_RAISE(auto due, store_->DueBefore(expiry_clock_.NowMs(), kPage));
    std::vector<Op> ops;
    for (auto& [at, key] : due) {
      ops.push_back(
          {.type = Op::Type::kExpire, .key = std::move(key), .payload = nullptr});
    }
    if (ops.empty()) return reaped;
    ARROW_ASSIGN_OR_RAISE(const auto results, Write({}, {}, std::move(ops)));
    const int64_t count =
        std::count_if(results.begin(), results.end(),
                      [](const WriteResult& result) { return result.version != 0; });
    reaped += count;
    counters_.expired_objects += count;
    ARROW_RETURN_NOT_OK(FoldIfMany());
    // Whoever was written anew meanwhile is due no longer once that is published.
    if (count == 0 || std::ssize(due) < kPage) return reaped;
  }
}

}  // namespace flame
