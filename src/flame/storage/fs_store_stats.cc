// What a running store tells of itself.
#include <rocksdb/db.h>

#include <filesystem>
#include <random>

#include "flame/object/key.h"
#include "flame/storage/commit_plan.h"
#include "flame/storage/database.h"
#include "flame/storage/fs_store.h"

namespace flame {
namespace {

using arrow::Result;

constexpr int64_t kSample = 512;  // Objects that are looked at: about a millisecond.

/// The keys of whole slots, from `start` on and around, until kSample of them. Keys are
/// spread over slots by their hash, so that any slots are as good a sample as any other.
struct Sample {
  std::vector<std::string> keys;
  int64_t slots = 0;  // How many they fill.
};

Result<Sample> TakeSample(const Database& db, uint16_t start) {
  Sample sample;
  const auto visit_from = [&](uint16_t first, int end) -> Result<bool> {
    int slot = first;
    bool enough = false;
    ARROW_RETURN_NOT_OK(db.Visit(
        Family::kSlotKeys, SlotKey(first),
        [&](std::string_view key, std::string_view) -> Result<bool> {
          const int of = static_cast<uint8_t>(key[0]) << 8 | static_cast<uint8_t>(key[1]);
          if (of >= end) return false;
          enough = of != slot && std::ssize(sample.keys) >= kSample;
          if (!enough) sample.keys.emplace_back(key.substr(2));
          slot = of;
          return !enough;
        }));
    sample.slots += (enough ? slot : end) - first;
    return enough;
  };
  ARROW_ASSIGN_OR_RAISE(const bool enough, visit_from(start, kSlots));
  if (!enough) ARROW_RETURN_NOT_OK(visit_from(0, start).status());
  return sample;
}

void EstimateStored(const Database& db, Store::Stats* stats) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  const auto start = static_cast<uint16_t>(random() % kSlots);
  const auto sample = TakeSample(db, start);
  if (!sample.ok() || sample->slots == 0) return;
  int64_t bytes = 0;
  std::string record;
  for (const std::string& key : sample->keys) {
    const auto found = db.Get(Family::kRows, key, &record);
    if (!found.ok() || !*found) continue;  // Deleted meanwhile.
    const auto row = DecodeRow(record);
    if (!row.ok()) continue;
    // The payload of a file that nobody has read yet is not known.
    bytes += row->base.type == Location::Type::kUnread ? row->base.stored_bytes
                                                       : row->base_bytes;
    bytes += row->patch_bytes;
  }
  const double scale = static_cast<double>(kSlots) / static_cast<double>(sample->slots);
  stats->objects_estimate =
      static_cast<int64_t>(static_cast<double>(sample->keys.size()) * scale);
  stats->bytes_estimate = static_cast<int64_t>(static_cast<double>(bytes) * scale);
}

}  // namespace

Store::Stats FsStore::stats() const {
  using Properties = rocksdb::DB::Properties;
  Stats stats;
  stats.quarantined = quarantined_;
  EstimateStored(*db_, &stats);
  std::error_code error;
  const auto space = std::filesystem::space(options_.root, error);
  if (!error) {
    stats.disk = Stats::Disk{static_cast<int64_t>(space.available),
                             static_cast<int64_t>(space.capacity)};
  }
  stats.database = Stats::Database{
      .memtable_bytes = db_->Property(Properties::kCurSizeAllMemTables),
      .live_table_bytes = db_->Property(Properties::kLiveSstFilesSize),
      .pending_compaction_bytes =
          db_->Property(Properties::kEstimatePendingCompactionBytes),
      // One cache for all families.
      .block_cache_bytes = db_->WholeProperty(Properties::kBlockCacheUsage),
      .running_compactions = db_->WholeProperty(Properties::kNumRunningCompactions),
      .running_flushes = db_->WholeProperty(Properties::kNumRunningFlushes),
      .writes_stopped = db_->WholeProperty(Properties::kIsWriteStopped) != 0,
      .failed = db_->failed()};
  return stats;
}

}  // namespace flame
