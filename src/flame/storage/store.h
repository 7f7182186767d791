// Store: makes commits last and finds them again. It keeps the versions that it is given
// and never compares them; what "newest", "expired" or "allowed" mean is decided in
// cache/.
//
// Two implementations: MemoryStore (`storage: none`) keeps rows in this process; FsStore
// (`storage: fs://...`) keeps rows, small values and patches in RocksDB and each large
// object in an Arrow IPC file. One contract test runs on both.
//
// Thread-safe, except that Commit() has one caller at a time (the cache's commit lane).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/result.h>

#include "flame/object/key.h"
#include "flame/object/snapshot.h"
#include "flame/storage/record.h"
#include "flame/storage/resident.h"

namespace flame {

enum class Durability {
  kProcess,  // Survives kill -9 of the server: in the kernel's hands before Commit
             // returns.
  kDisk,     // Survives power loss: on the device before Commit returns.
};

/// A payload put where it can be committed from without moving it again: a temporary
/// file, or bytes in hand. Not visible to anyone until a Commit names it. Destroying it
/// without a commit removes the temporary file.
class StagedPayload {
 public:
  virtual ~StagedPayload() = default;
  const std::shared_ptr<const Payload>& payload() const { return payload_; }
  /// What the row shall say about it.
  const Location& location() const { return location_; }
  uint64_t checksum() const { return checksum_; }
  bool has_checksum() const { return has_checksum_; }

 protected:
  std::shared_ptr<const Payload> payload_;
  Location location_;
  uint64_t checksum_ = 0;
  bool has_checksum_ = false;
};

/// One key's change. The store needs the row before it to know what becomes garbage.
struct Mutation {
  Key key;
  Row row;                      // The new state; a tombstone deletes.
  std::optional<Row> previous;  // The state before, tombstones included.
  /// A put's new base; null for patches, deletes and changes of metadata, which keep or
  /// drop the old one.
  std::shared_ptr<StagedPayload> base;
  /// Patches to add, with rising versions: one for a patch, several when a foreign object
  /// is adopted.
  std::vector<std::pair<Version, std::shared_ptr<StagedPayload>>> patches;
};

/// All of it becomes durable and findable, or nothing.
struct CommitBatch {
  std::vector<Mutation> mutations;  // Several of one key are in order.
  // The new state of every slot touched.
  std::vector<std::pair<uint16_t, SlotState>> slots;
  /// Tombstones to forget, because the slot's floor (above) now covers them: (slot, key)
  /// pairs.
  std::vector<std::pair<uint16_t, std::string>> folded;
  /// The time up to which objects have been expired; 0 = as before. Kept, so that it
  /// never goes back.
  int64_t expired_until_ms = 0;
};

/// What an object on disk turned out to hold when it was read for the first time.
struct ForeignObject {
  std::shared_ptr<const Payload> base;
  Version base_version = 0;  // As the file says; 0 = a local-mode client wrote it.
  // Rising, above base_version.
  std::vector<std::pair<Version, std::shared_ptr<const Payload>>> patches;
  std::string path;  // Relative to the root.
};

/// Base and patches of a row, as read back.
struct StoredObject {
  std::shared_ptr<const Payload> base;
  std::shared_ptr<const Patch> last_patch;
};

/// Whether writes are refused now.
struct WriteHealth {
  arrow::Status status;  // Why; OK = they are not, as far as anybody has tried.
  int64_t since_ms = 0;  // Wall clock, of the first refusal; 0 = none.
};

class Store {
 public:
  virtual ~Store() = default;

  /// Put `payload` where Commit can take it. `key` and `version` (a prediction,
  /// informative for foreign readers of the file) go into a file's metadata. May do I/O
  /// in the size of the payload; call without locks.
  virtual arrow::Result<std::shared_ptr<StagedPayload>> StageBase(
      const Key& key, std::shared_ptr<const Payload> payload, Version version) = 0;
  virtual arrow::Result<std::shared_ptr<StagedPayload>> StagePatch(
      const Key& key, std::shared_ptr<const Payload> payload, Version version) = 0;

  /// Make `batch` durable as asked, then finish the file work that it implies (rename,
  /// unlink). Returns its log position. On an error nothing of the batch is visible; the
  /// detail's outcome says whether it can reappear after a restart (kUnknown) or not
  /// (kNotApplied). kUnavailable: the store has just recovered from a failure, and
  /// commits whose outcome was unknown may be there now; this one is not. One caller at a
  /// time.
  virtual arrow::Result<uint64_t> Commit(CommitBatch batch, Durability durability) = 0;

  /// The newest committed row of `key`, live or tombstone; nullopt for a key that this
  /// store does not remember.
  virtual arrow::Result<std::optional<Row>> Find(const Key& key) const = 0;
  /// The bytes that `row` describes. kStale when a commit has replaced them meanwhile
  /// (find the row again), kCorrupt when they fail their checksum, naming the file.
  virtual arrow::Result<StoredObject> Read(const Key& key, const Row& row) const = 0;
  /// The object of `key` as of commit `seq`, if this store has it in memory in the form
  /// that readers are served from: the caller shares it instead of making one. Else null.
  virtual ResidentPtr Held(const Key& key, uint64_t seq) const { return nullptr; }
  /// Up to `limit` live rows whose keys start with `prefix` and come after `after`, in
  /// byte order. Stateless.
  virtual arrow::Result<std::vector<std::pair<Key, Row>>> Scan(const std::string& prefix,
                                                               const std::string& after,
                                                               int64_t limit) const = 0;
  /// Up to `limit` live keys that expire at or before `wall_ms`, soonest first.
  virtual arrow::Result<std::vector<std::pair<int64_t, Key>>> DueBefore(
      int64_t wall_ms, int64_t limit) const = 0;
  /// The highest `expired_until_ms` that was committed.
  virtual int64_t ExpiredUntilMs() const = 0;
  /// What was committed can be read again after it has left memory.
  virtual bool is_persistent() const = 0;
  /// The committed state of a slot.
  virtual SlotState Slot(uint16_t slot) const = 0;
  /// The exact tombstones of a slot: (key, row), for folding.
  virtual arrow::Result<std::vector<std::pair<Key, Row>>> Tombstones(
      uint16_t slot) const = 0;

  /// Rows whose base is not on disk yet (Location::kArena), to be written behind after a
  /// restart.
  virtual arrow::Result<std::vector<std::pair<Key, Row>>> RecoverDirty() const = 0;
  /// The dirty base of `key` has been written to `written`; no effect if `seq` is no
  /// longer the key's newest.
  virtual arrow::Status MarkClean(const Key& key, uint64_t seq,
                                  std::shared_ptr<StagedPayload> written) = 0;

  /// Read and fully validate the file that another program left for `key`: one that
  /// appeared while we run (no row), or one that lay there when the directory was taken
  /// over (`row` with Location::kUnread). nullopt: no such file. A bad file is moved
  /// aside below `.flame/quarantine/`, logged and counted, and answers nullopt as well.
  virtual arrow::Result<std::optional<ForeignObject>> ReadForeign(
      const Key& key, const Row* row) const = 0;
  /// A StagedPayload for a foreign object's base, which stays in the file where it is.
  virtual arrow::Result<std::shared_ptr<StagedPayload>> AdoptBase(
      const Key& key, const ForeignObject& object) = 0;
  /// Keys below `prefix` that files exist for and the store has no row or tombstone of,
  /// at most `limit`.
  virtual arrow::Result<std::vector<Key>> Strays(const std::string& prefix,
                                                 int64_t limit) const = 0;

  /// Flush what is buffered and mark the stop as clean. No call may follow but the
  /// destructor.
  virtual arrow::Status Close() = 0;

  /// Does the disk take writes? An object that is too large for the room that is left is
  /// no such refusal. Cheap.
  virtual WriteHealth write_health() const { return {}; }
  /// While it does not: look whether it does again, and get ready for writes. They do so
  /// themselves too; this is for a timer, so that write_health() tells the truth when
  /// nobody writes. A write whose outcome is unknown is left to the next Commit, which
  /// tells its caller that what it knows is void.
  virtual void TryRecover() {}

  /// Of now, for metrics. Takes milliseconds where there are many objects.
  struct Stats {
    int64_t quarantined = 0;  // Bad files moved aside since the start.
    // Live objects and their payload bytes. Exact in memory and for some hundred objects;
    // beyond that estimated from a sample.
    int64_t objects_estimate = 0;
    int64_t bytes_estimate = 0;
    struct Disk {
      int64_t free_bytes = 0;  // To this process.
      int64_t size_bytes = 0;
    };
    std::optional<Disk> disk;  // The file system that objects lie in, if any.
    struct Database {
      int64_t memtable_bytes = 0;            // Written, not yet in tables.
      int64_t live_table_bytes = 0;          // Files of tables that hold current data.
      int64_t pending_compaction_bytes = 0;  // Estimate.
      int64_t block_cache_bytes = 0;
      int64_t running_compactions = 0;
      int64_t running_flushes = 0;
      bool writes_stopped = false;  // RocksDB holds writers back until it has caught up.
      bool failed = false;          // A write failed and no later one has gone through.
    };
    std::optional<Database> database;  // What lies beneath, if any.
  };
  virtual Stats stats() const = 0;
  /// UUID of this store's contents, for feeds' cursors and for people; changes when it is
  /// created anew.
  virtual const std::string& id() const = 0;
};

}  // namespace flame
