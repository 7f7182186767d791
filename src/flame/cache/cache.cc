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
      expiry_clock_(clock, store->ExpiredUntilMs()),
      residency_(options.eviction),
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
  stats.resident_objects = residency_.objects();
  stats.resident_bytes = residency_.bytes();
  stats.tombstones = tombstones_;
  stats.hits_total = counters_.hits;
  stats.misses_total = counters_.misses;
  stats.not_modified_total = counters_.not_modified;
  stats.evicted_objects_total = counters_.evicted_objects;
  stats.evicted_bytes_total = counters_.evicted_bytes;
  stats.expired_objects_total = counters_.expired_objects;
  return stats;
}

}  // namespace flame
