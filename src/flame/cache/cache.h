// Cache: the one place that knows what "newest", "absent", "expired" and "allowed" mean.
// Doors decode a call, ask here, and encode the answer; stores keep what they are given.
//
// A write passes three stages (docs/internals/write_path.md): (1) under the lock of its
// shard it is given the next version and appended to the commit lane; (2) without a lock
// the lane makes it durable; (3) the lane publishes it, in order, and only then is the
// writer answered. Readers see published versions only.
//
// Thread-safe. No lock is held while payload bytes move or a disk is waited for.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <arrow/result.h>

#include "flame/base/clock.h"
#include "flame/base/gate.h"
#include "flame/cache/commit_lane.h"
#include "flame/cache/expiry_clock.h"
#include "flame/cache/feed.h"
#include "flame/cache/request_context.h"
#include "flame/cache/residency.h"
#include "flame/cache/table.h"
#include "flame/memory/buffer_pool.h"
#include "flame/object/key.h"
#include "flame/object/snapshot.h"
#include "flame/storage/store.h"

namespace flame {

struct CacheOptions {
  Durability durability = Durability::kProcess;  // Of writes that do not ask for another.
  int32_t max_patches = 1000;                    // Per object.
  // Payload bytes of an object with its patches; unset: no bound.
  std::optional<int64_t> max_object_bytes;
  // Exact ones; beyond that slots are folded into their floors.
  int64_t max_tombstones = 100'000;
  // Smaller payloads are copied out of the message that brought them.
  int64_t compact_below = 16 * 1024;
  size_t feed_capacity = 16 * 1024;  // Events that a feed reader may lag behind.
  EvictionOptions eviction;
};

struct WriteOptions {
  // Only if this is the newest version; 0 = only if the key is absent.
  std::optional<Version> if_version;
  /// How long the object lives from now. 0: a put's for ever, a patch's as long as
  /// before.
  int64_t ttl_ms = 0;
  std::optional<Durability> durability;
};

struct WriteResult {
  Version version = 0;
  uint64_t seq = 0;
  // This op_id had been applied before; `version` is what it was given then.
  bool replayed = false;
};

struct Absent {};
struct NotModified {
  Version version;
  Kind kind;
};
using GetResult = std::variant<Absent, NotModified, std::shared_ptr<const Snapshot>>;

struct ObjectStat {
  Key key;
  Version version = 0;
  Version base_version = 0;
  Kind kind = Kind::kOpaque;
  int64_t bytes = 0;  // Payload bytes, base and patches.
  int32_t patch_count = 0;
  int64_t modified_ms = 0;
  int64_t expires_at_ms = 0;
  std::shared_ptr<arrow::Buffer> schema;  // Native: encapsulated IPC schema message.
};

class Cache {
 public:
  /// `store`, `pool`, `clock` and `authorizer` are borrowed and must outlive the cache.
  Cache(Store* store, BufferPool* pool, const Clock* clock, const Authorizer* authorizer,
        CacheOptions options);
  ~Cache();

  /// Create or replace the object. `generated`: the key's id was drawn here at random, so
  /// it starts at version 1.
  arrow::Result<WriteResult> Put(const RequestContext& context, const Key& key,
                                 std::shared_ptr<const Payload> payload,
                                 const WriteOptions& options = {},
                                 bool generated = false);
  /// Append to an object of the same kind (and, if native, of the same schema).
  /// kNotFound, kWrongKind, kTooManyPatches.
  arrow::Result<WriteResult> Patch(const RequestContext& context, const Key& key,
                                   std::shared_ptr<const Payload> payload,
                                   const WriteOptions& options = {});
  /// Read, decide, put: `decide` gets the present snapshot (null = absent) and returns
  /// the new payload, or null to leave it. Called again when another writer came between.
  using Decide =
      std::function<arrow::Result<std::shared_ptr<const Payload>>(const Snapshot*)>;
  arrow::Result<std::optional<WriteResult>> Mutate(const RequestContext& context,
                                                   const Key& key, const Decide& decide);

  struct Guard {
    Key key;
    Version version;  // Must be the newest; 0 = must be absent.
  };
  struct Op {
    /// The last two are the cache's own: delete if expired, and delete if still at
    /// `only_seq`.
    enum class Type { kPut, kPatch, kDelete, kExpire, kEvict };
    Type type;
    Key key;
    std::shared_ptr<const Payload> payload;  // kPut and kPatch.
    WriteOptions options;
    bool generated = false;
    uint64_t only_seq = 0;
  };
  /// All of `ops`, in order, if all guards hold; or nothing. One log record. A delete of
  /// an absent key gives version 0.
  arrow::Result<std::vector<WriteResult>> Transact(const RequestContext& context,
                                                   const std::vector<Guard>& guards,
                                                   std::vector<Op> ops);

  /// The newest published version, or that it is still `known` (0 = none in hand), or
  /// that there is none.
  arrow::Result<GetResult> Get(const RequestContext& context, const Key& key,
                               Version known);
  /// How many bytes a Get would have to read from the store: 0 if what it answers is in
  /// memory. Nothing is promised about the Get that follows.
  arrow::Result<int64_t> BytesToLoad(const RequestContext& context, const Key& key,
                                     Version known);
  /// Without the bytes.
  arrow::Result<std::optional<ObjectStat>> Stat(const RequestContext& context,
                                                const Key& key);
  /// Up to `limit` objects whose keys start with `prefix` and come after `after`, in byte
  /// order.
  arrow::Result<std::vector<ObjectStat>> List(const RequestContext& context,
                                              const std::string& prefix,
                                              const std::string& after, int64_t limit);
  /// Delete what `selection` names; how many objects that were. A prefix is worked
  /// through in pages: objects put meanwhile may stay.
  arrow::Result<int64_t> Delete(const RequestContext& context, const Selection& selection,
                                const WriteOptions& options = {});

  /// Empty cursor: the cursor for "from now on".
  arrow::Result<Feed::Page> ReadFeed(const RequestContext& context,
                                     std::string_view cursor, const std::string& prefix,
                                     int64_t limit, std::chrono::milliseconds wait);

  /// Fold tombstones that are older than `age` into the floors of their slots.
  arrow::Status FoldOldTombstones(std::chrono::milliseconds age);
  /// Delete what has expired (readers have not seen it since); how many objects that was.
  /// Costs in proportion to that.
  arrow::Result<int64_t> ReapExpired();
  /// Let resident objects go until the limits hold. Every write and load does this for
  /// what it brought; what was in use then is left to this.
  arrow::Status EvictToLimits() { return EvictToLimits(nullptr); }

  /// Let every feed reader that waits for news go with what it has: the server is about
  /// to stop.
  void StopWaiting() { feed_.Close(); }
  /// Refuse new calls, wait for those inside, close the store. Idempotent.
  arrow::Status Close();

  /// Gauges of now, and counters since the start (`*_total`).
  struct Stats {
    int64_t resident_objects = 0;  // In memory.
    int64_t resident_bytes = 0;    // Payloads, and what is held about each object.
    int64_t tombstones = 0;        // Exact versions of deleted keys.
    int64_t hits_total = 0;        // Gets answered with an object.
    int64_t misses_total = 0;
    int64_t not_modified_total = 0;
    int64_t evicted_objects_total = 0;
    int64_t evicted_bytes_total = 0;
    int64_t expired_objects_total = 0;
  };
  Stats stats() const;

 private:
  class Pins;
  struct Planned;

  bool IsExpired(int64_t expires_at_ms) const {
    return expires_at_ms != 0 && expires_at_ms <= expiry_clock_.NowMs();
  }
  bool IsLive(const std::optional<Row>& row) const {
    return row && !row->deleted && !IsExpired(row->expires_at_ms);
  }

  /// The key's newest appended row, looked up in the store when nobody has it in hand.
  /// Adopts foreign files.
  arrow::Result<std::optional<Row>> LoadHead(const Key& key, bool may_be_foreign);
  /// Take a file that another program left for `key` into the store. True if there was
  /// one.
  arrow::Result<bool> Adopt(const Key& key, const std::optional<Row>& row);
  /// The key's newest published row. Adopts foreign files.
  arrow::Result<std::optional<Row>> FindRow(const Key& key);

  Version NextVersion(const std::optional<Row>& row, const SlotState& slot,
                      bool generated) const;
  /// When an object that lives `ttl_ms` from now expires.
  int64_t ExpiryOf(int64_t ttl_ms) const;
  /// kTooLarge: it could only be kept in memory, and never fits there.
  arrow::Status CheckFits(const Key& key, const Row& row) const;
  arrow::Status CheckVersion(const Key& key, const std::optional<Row>& row,
                             std::optional<Version> expected) const;
  /// Transact, for what is allowed, but for the outcome of refusals and eviction.
  arrow::Result<std::vector<WriteResult>> Write(const RequestContext& context,
                                                const std::vector<Guard>& guards,
                                                std::vector<Op> ops);
  arrow::Result<Planned> Plan(const RequestContext& context, const Op& op,
                              const std::optional<Row>& row, SlotState* slot,
                              const std::shared_ptr<StagedPayload>& staged) const;

  /// Get, uncounted.
  arrow::Result<GetResult> Read(const Key& key, Version known);
  /// The published snapshot; null when the object is not resident, or absent.
  std::shared_ptr<const Snapshot> FindResident(const Key& key);
  arrow::Result<std::optional<ObjectStat>> StatOf(const Key& key,
                                                  const Snapshot& snapshot) const;
  std::shared_ptr<const Snapshot> MakeSnapshot(const Row& row, StoredObject object);
  /// What readers find in the table from now on; null = ask the store. REQUIRES: the
  /// shard's lock. Returns what was there.
  ResidentPtr Show(Shard* shard, const Key& key, std::shared_ptr<const Snapshot> snapshot)
      REQUIRES(shard->mutex);
  /// It is shown no longer.
  void Retire(ResidentPtr resident);
  void Publish(const Publication& publication);
  /// Holds the locks of all shards, which is beyond what clang follows.
  void Abandon(const arrow::Status& why) NO_THREAD_SAFETY_ANALYSIS;
  arrow::Status FoldIfMany();
  /// Fold the slot's tombstones of `until_ms` (wall clock) or before.
  arrow::Status FoldSlot(uint16_t slot, int64_t until_ms);

  /// Bytes of memory that an object takes, with what is held about it.
  int64_t ChargeOf(const std::string& key, Kind kind, int64_t bytes,
                   int32_t patches) const;
  arrow::Status EvictToLimits(const Key* keep);
  /// A victim that stays.
  void PutBack(const Key& key);
  class Victims;

  Store* const store_;                  // Borrowed.
  BufferPool* const pool_;              // Borrowed.
  const Clock* const clock_;            // Borrowed.
  const Authorizer* const authorizer_;  // Borrowed.
  const CacheOptions options_;

  const ExpiryClock expiry_clock_;
  Residency residency_;
  Mutex
      evict_mutex_;  // Held by the one who evicts, so that just enough goes. Taken first.
  mutable Table table_;
  Feed feed_;
  CommitLane lane_;
  std::atomic<uint64_t> next_snapshot_id_{1};
  std::atomic<int64_t> tombstones_{0};
  struct Counters {
    std::atomic<int64_t> hits{0}, misses{0}, not_modified{0};
    std::atomic<int64_t> evicted_objects{0}, evicted_bytes{0}, expired_objects{0};
  };
  mutable Counters counters_;
  mutable Gate gate_;
};

}  // namespace flame
