// Reading: gets, stats, lists.
#include "flame/cache/cache_internal.h"

#include <fmt/format.h>

#include "flame/base/log.h"

namespace flame {

using arrow::Result;
using arrow::Status;

namespace {

constexpr int kMaxRereads = 100;  // A reader that is overtaken this often gives up.

ObjectStat FromRow(Key key, const Row& row) {
  return {std::move(key),
          row.version,
          row.base_version,
          row.kind,
          row.base_bytes + row.patch_bytes,
          row.patch_count,
          row.wall_ms,
          row.expires_at_ms,
          row.schema};
}

}  // namespace

std::shared_ptr<const Snapshot> Cache::MakeSnapshot(const Row& row, StoredObject object) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->id = next_snapshot_id_.fetch_add(1, std::memory_order_relaxed);
  snapshot->version = row.version;
  snapshot->base_version = row.base_version;
  snapshot->seq = row.seq;
  snapshot->modified_ms = row.wall_ms;
  snapshot->expires_at_ms = row.expires_at_ms;
  snapshot->base = std::move(object.base);
  snapshot->last_patch = std::move(object.last_patch);
  snapshot->patch_count = row.patch_count;
  snapshot->bytes = row.base_bytes + row.patch_bytes;
  return snapshot;
}

Result<GetResult> Cache::Get(const RequestContext& context, const Key& key,
                             Version known) {
  ENTER_OR_RETURN();
  ARROW_RETURN_NOT_OK(
      authorizer_->Authorize(context.principal, Operation::kGet, key.text()));
  auto result = Read(key, known);
  if (result.ok()) {
    auto& counter = std::holds_alternative<Absent>(*result) ? counters_.misses
                    : std::holds_alternative<NotModified>(*result)
                        ? counters_.not_modified
                        : counters_.hits;
    counter.fetch_add(1, std::memory_order_relaxed);
  }
  return result;
}

Result<GetResult> Cache::Read(const Key& key, Version known) {
  Shard& shard = table_.ShardOf(key);
  for (int attempt = 0; attempt < kMaxRereads; ++attempt) {
    uint64_t publishes = 0;
    ResidentPtr resident;
    {
      MutexLock lock(shard.mutex);
      // Somebody reads the same payload: wait for it rather than hold it twice.
      for (auto found = shard.entries.find(key.text());
           found != shard.entries.end() && found->second.reading;
           found = shard.entries.find(key.text())) {
        shard.changed.Wait(lock);
      }
      resident = shard.FindResident(key.text());
      if (resident != nullptr) {
        if (IsExpired(resident->expires_at_ms())) return Absent{};
        residency_.Use(resident.get());
      }
      publishes = shard.publishes;
    }
    if (resident != nullptr) {
      if (known != 0 && resident->version() == known) {
        return NotModified{known, resident->kind()};
      }
      return resident->snapshot();
    }

    ARROW_ASSIGN_OR_RAISE(const auto row, FindRow(key));
    {
      MutexLock lock(shard.mutex);
      // The object became resident while we looked: whoever reads next is shown that, and
      // so must we.
      if (shard.FindResident(key.text()) != nullptr) continue;
      const auto found = shard.entries.find(key.text());
      if (found != shard.entries.end() && found->second.reading) continue;
      if (!IsLive(row)) return Absent{};
      if (known != 0 && row->version == known) return NotModified{known, row->kind};
      shard.entries[key.text()].reading = true;
    }
    FLAME_LOG_DEBUG(cache, "load key={} version={} bytes={}", key.text(), row->version,
                    row->base_bytes + row->patch_bytes);
    auto object = store_->Read(key, *row);
    std::shared_ptr<const Snapshot> snapshot;
    if (object.ok()) snapshot = MakeSnapshot(*row, *std::move(object));
    {
      MutexLock lock(shard.mutex);
      Entry& entry = shard.entries[key.text()];
      entry.reading = false;
      shard.changed.NotifyAll();
      // Only if nothing was published meanwhile is this certainly still the newest;
      // otherwise it was the newest when it was found, which is good enough for this
      // caller but not for the table.
      if (snapshot != nullptr && entry.pending == 0 && shard.publishes == publishes &&
          shard.FindResident(key.text()) == nullptr) {
        Show(&shard, key, snapshot);
      }
      // A commit has replaced the bytes that readers are still to see: it is about to be
      // published.
      if (IsError(object.status(), ErrorCode::kStale) && entry.pending > 0 &&
          shard.publishes == publishes) {
        shard.changed.Wait(lock);
      }
      shard.DropIfIdle(key.text());
    }
    if (snapshot != nullptr) {
      ARROW_RETURN_NOT_OK(EvictToLimits(&key));
      return snapshot;
    }
    if (!IsError(object.status(), ErrorCode::kStale)) return object.status();
  }
  return MakeError(
      ErrorCode::kUnavailable,
      fmt::format("{} is being rewritten faster than it can be read; try again",
                  key.text()));
}

Result<int64_t> Cache::BytesToLoad(const RequestContext& context, const Key& key,
                                   Version known) {
  ENTER_OR_RETURN();
  // Or whoever may not read could make the server look for files, and hold its memory.
  ARROW_RETURN_NOT_OK(
      authorizer_->Authorize(context.principal, Operation::kGet, key.text()));
  // A store in memory hands out what it holds.
  if (!store_->is_persistent() || FindResident(key) != nullptr) return 0;
  ARROW_ASSIGN_OR_RAISE(const auto row, FindRow(key));
  if (!IsLive(row) || (known != 0 && row->version == known)) return 0;
  return row->base_bytes + row->patch_bytes;
}

Result<std::optional<ObjectStat>> Cache::StatOf(const Key& key,
                                                const Snapshot& snapshot) const {
  if (IsExpired(snapshot.expires_at_ms)) return std::nullopt;
  ObjectStat stat{key,
                  snapshot.version,
                  snapshot.base_version,
                  snapshot.kind(),
                  snapshot.bytes,
                  snapshot.patch_count,
                  snapshot.modified_ms,
                  snapshot.expires_at_ms,
                  nullptr};
  if (stat.kind == Kind::kNative) {
    ARROW_ASSIGN_OR_RAISE(stat.schema, EncodeSchema(*snapshot.base->schema()));
  }
  return stat;
}

Result<std::optional<ObjectStat>> Cache::Stat(const RequestContext& context,
                                              const Key& key) {
  ENTER_OR_RETURN();
  ARROW_RETURN_NOT_OK(
      authorizer_->Authorize(context.principal, Operation::kStat, key.text()));
  // What is resident is what Get answers; the row counts only for an object that is not,
  // before and after the look.
  if (const auto snapshot = FindResident(key)) return StatOf(key, *snapshot);
  ARROW_ASSIGN_OR_RAISE(const auto row, FindRow(key));
  if (const auto snapshot = FindResident(key)) return StatOf(key, *snapshot);
  if (!IsLive(row)) return std::nullopt;
  return FromRow(key, *row);
}

std::shared_ptr<const Snapshot> Cache::FindResident(const Key& key) {
  Shard& shard = table_.ShardOf(key);
  ResidentPtr resident;
  {
    MutexLock lock(shard.mutex);
    resident = shard.FindResident(key.text());
  }
  return resident == nullptr ? nullptr : resident->snapshot();
}

Result<std::vector<ObjectStat>> Cache::List(const RequestContext& context,
                                            const std::string& prefix,
                                            const std::string& after, int64_t limit) {
  ENTER_OR_RETURN();
  ARROW_RETURN_NOT_OK(
      authorizer_->Authorize(context.principal, Operation::kList, prefix));
  std::vector<ObjectStat> stats;
  std::string position = after;
  // Plain keys and expired objects are passed over, so a page may take several of the
  // store's.
  while (std::ssize(stats) < limit) {
    ARROW_ASSIGN_OR_RAISE(auto rows,
                          store_->Scan(prefix, position, limit - std::ssize(stats)));
    if (rows.empty()) break;
    position = rows.back().first.text();
    for (auto& [key, row] : rows) {
      if (key.is_object() && IsLive(row)) stats.push_back(FromRow(std::move(key), row));
    }
  }
  return stats;
}

}  // namespace flame
