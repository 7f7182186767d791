#include "flame/cache/cache.h"

#include <random>

#include "flame/cache/cache_internal.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;

uint64_t RandomOrigin() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

}  // namespace

Cache::Cache(Store* store, BufferPool* pool, const Clock* clock,
             const Authorizer* authorizer, CacheOptions options)
    : store_(store),
      pool_(pool),
      clock_(clock),
      authorizer_(authorizer),
      options_(options),
      feed_(RandomOrigin(), options.feed_capacity),
      lane_(
          store, [this](const Publication& publication) { Publish(publication); },
          [this](const Status& why) { Abandon(why); }) {
  int64_t tombstones = 0;
  for (int slot = 0; slot < kSlots; ++slot) {
    table_.slot(static_cast<uint16_t>(slot)) = store_->Slot(static_cast<uint16_t>(slot));
    tombstones += table_.slot(static_cast<uint16_t>(slot)).tombstones;
  }
  tombstones_ = tombstones;
}

Cache::~Cache() { ARROW_UNUSED(Close()); }

Status Cache::Close() {
  feed_.Close();
  if (!gate_.CloseAndWait()) return Status::OK();
  return store_->Close();
}

bool Cache::IsExpired(const Row& row) const {
  return row.expires_at_ms != 0 && row.expires_at_ms <= clock_->WallMs();
}

Result<Feed::Page> Cache::ReadFeed(const RequestContext& context, std::string_view cursor,
                                   const std::string& prefix, int64_t limit,
                                   std::chrono::milliseconds wait) {
  ENTER_OR_RETURN();
  ARROW_RETURN_NOT_OK(
      authorizer_->Authorize(context.principal, Operation::kFeed, prefix));
  if (cursor.empty()) return Feed::Page{false, {}, feed_.Now()};
  return feed_.Read(cursor, prefix, limit, wait, context.cancelled);
}

Cache::Stats Cache::stats() const {
  Stats stats;
  for (size_t i = 0; i < Table::kShards; ++i) {
    Shard& shard = table_.shard(i);
    MutexLock lock(shard.mutex);
    for (const auto& [key, entry] : shard.entries) {
      if (entry.published == nullptr) continue;
      ++stats.resident_objects;
      stats.resident_bytes += entry.published->bytes;
    }
  }
  stats.tombstones = tombstones_;
  return stats;
}

}  // namespace flame
