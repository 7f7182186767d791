// FsStore: the Store of `storage: fs://...`. RocksDB below `<root>/.flame/db` holds rows,
// versions, small values and patches; each large object is an Arrow IPC file that other
// programs can read. docs/internals/storage.md has the whole picture.
//
// Commit first: a payload is staged as `.flame/tmp/<id>`; one write to RocksDB makes the
// commit, and names what is left to do with files; renames and removals follow, and are
// done again after a crash.
//
// Thread-safe. Opening reads slots and unfinished file work only, however many objects
// there are.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "flame/base/clock.h"
#include "flame/base/mutex.h"
#include "flame/storage/file_compression.h"
#include "flame/storage/file_system.h"
#include "flame/storage/file_work.h"
#include "flame/storage/identity.h"
#include "flame/storage/store.h"
#include "flame/storage/write_health.h"

namespace rocksdb {
class Env;
}

namespace flame {

class CommitPlan;  // flame/storage/commit_plan.h
class Database;    // flame/storage/database.h
class FsStaged;    // flame/storage/fs_staged.h

struct FsStoreOptions {
  /// Created if it is missing. One server at a time.
  std::string root;
  /// Objects whose stored form is at least this large get a file each; smaller ones lie
  /// in RocksDB. 0 = a file for each. At most 4 MiB: RocksDB writes what it holds several
  /// times.
  int64_t pack_below = 64 << 10;
  /// Of files; with a codec, what lies in RocksDB is compressed by it as well.
  FileCompression compression;
  /// Every commit will ask for Durability::kDisk, so that a power loss takes nothing (see
  /// identity.h).
  bool sync_always = false;
  /// Of RocksDB, with filters and indexes.
  int64_t block_cache_bytes = 32 << 20;
  /// Of RocksDB; twice as much is replayed at worst by an open after a crash.
  int64_t write_buffer_bytes = 32 << 20;
  const Clock* clock = Clock::System();  // Borrowed; outlives the store.

  // For tests.
  std::shared_ptr<FileSystem> file_system;  // Null = OpenFileSystem(root).
  std::optional<std::string> boot_id;       // Absent = the machine's.
  rocksdb::Env* env = nullptr;  // Null = the machine's. Borrowed; outlives the store.
};

class FsStore final : public Store {
 public:
  /// An error is one line for the operator, naming the root.
  static arrow::Result<std::unique_ptr<FsStore>> Open(const FsStoreOptions& options);
  /// Without Close() it is as if the server had been killed.
  ~FsStore() override;

  arrow::Result<std::shared_ptr<StagedPayload>> StageBase(
      const Key& key, std::shared_ptr<const Payload> payload, Version version) override;
  arrow::Result<std::shared_ptr<StagedPayload>> StagePatch(
      const Key& key, std::shared_ptr<const Payload> payload, Version version) override;
  arrow::Result<uint64_t> Commit(CommitBatch batch, Durability durability) override;

  arrow::Result<std::optional<Row>> Find(const Key& key) const override;
  arrow::Result<StoredObject> Read(const Key& key, const Row& row) const override;
  arrow::Result<std::vector<std::pair<Key, Row>>> Scan(const std::string& prefix,
                                                       const std::string& after,
                                                       int64_t limit) const override;
  arrow::Result<std::vector<std::pair<int64_t, Key>>> DueBefore(
      int64_t wall_ms, int64_t limit) const override;
  int64_t ExpiredUntilMs() const override { return expired_until_ms_; }
  bool is_persistent() const override { return true; }
  SlotState Slot(uint16_t slot) const override;
  arrow::Result<std::vector<std::pair<Key, Row>>> Tombstones(
      uint16_t slot) const override;

  arrow::Result<std::vector<std::pair<Key, Row>>> RecoverDirty() const override;
  arrow::Status MarkClean(const Key& key, uint64_t seq,
                          std::shared_ptr<StagedPayload> written) override;
  arrow::Result<std::optional<ForeignObject>> ReadForeign(const Key& key,
                                                          const Row* row) const override;
  arrow::Result<std::shared_ptr<StagedPayload>> AdoptBase(
      const Key& key, const ForeignObject& object) override;
  arrow::Result<std::vector<Key>> Strays(const std::string& prefix,
                                         int64_t limit) const override;

  WriteHealth write_health() const override { return health_.Get(); }
  void TryRecover() override;
  arrow::Status Close() override;
  Stats stats() const override;
  const std::string& id() const override { return identity_.store_id; }

 private:
  /// File work that is in the log's redo marks.
  struct Pending {
    FileWork work;
    bool done = false;  // Only its directories have to be synced before the mark may go.
  };

  FsStore(const FsStoreOptions& options, std::shared_ptr<FileSystem> files);

  // Opening, in this order (fs_store_open.cc, takeover.cc).
  arrow::Status Lock();
  arrow::Status OpenDatabase();
  arrow::Status Identify();
  arrow::Status LoadSlots();
  arrow::Status RedoLocked() REQUIRES(commit_mutex_);
  arrow::Status RemoveLeftovers();
  arrow::Status TakeOver();

  // Committing.
  arrow::Status RecoverLocked() REQUIRES(commit_mutex_);
  arrow::Status ReopenLocked() REQUIRES(commit_mutex_);
  /// Staging failed: is it this payload, or does the disk refuse everything?
  void JudgeDisk();
  arrow::Status CommitLocked(CommitPlan* plan, Durability durability)
      REQUIRES(commit_mutex_);
  void FinishLocked(const std::string& key, Durability durability)
      REQUIRES(commit_mutex_);
  arrow::Status SyncPendingLocked() REQUIRES(commit_mutex_);
  arrow::Result<std::shared_ptr<FsStaged>> StageFile(
      std::string path, uint64_t file_id, std::shared_ptr<const Payload> payload,
      Version version);
  uint64_t NextFileId() { return next_file_id_.fetch_add(1, std::memory_order_relaxed); }

  // Reading (fs_store_read.cc).
  arrow::Result<std::shared_ptr<const Payload>> ReadBase(const Key& key,
                                                         const Row& row) const;
  arrow::Result<std::shared_ptr<const Payload>> ReadValue(const Key& key,
                                                          const Row& row) const;
  arrow::Result<std::shared_ptr<const Payload>> ReadFile(const Row& row) const;
  /// What `row` describes, at `path`; null: no such file.
  arrow::Result<std::shared_ptr<const Payload>> ReadFile(const Row& row,
                                                         const std::string& path) const;
  arrow::Result<std::shared_ptr<const Patch>> ReadPatches(const Key& key,
                                                          const Row& row) const;

  // Other programs' files (foreign.cc).
  arrow::Status ReadDeltas(const std::string& path, ForeignObject* object) const;
  void Quarantine(const std::string& path, const arrow::Status& why) const;

  const FsStoreOptions options_;
  const std::shared_ptr<FileSystem> files_;
  FileSystem::Lock lock_;         // Held while the database is open: destroyed after it.
  std::unique_ptr<Database> db_;  // Constant after Open.
  Identity identity_;             // Constant after Open.
  std::atomic<int64_t> expired_until_ms_{0};
  // Counts in the low 40 bits, starts of the store above: no id comes twice.
  mutable std::atomic<uint64_t> next_file_id_{0};
  mutable std::atomic<int64_t> quarantined_{0};
  WriteHealthMonitor health_;
  // New files can't be made; the database may still have room in its own.
  std::atomic<bool> no_new_files_{false};

  Mutex commit_mutex_;  // One change of the database at a time. Held across its I/O.
  std::map<std::string, Pending> pending_ GUARDED_BY(commit_mutex_);  // By key.
  std::vector<std::string> finished_ GUARDED_BY(commit_mutex_);       // Marks to delete.
  std::set<std::string> unsynced_directories_ GUARDED_BY(commit_mutex_);
  int64_t unsynced_ GUARDED_BY(commit_mutex_) = 0;          // Done ones in pending_.
  bool outcome_unknown_ GUARDED_BY(commit_mutex_) = false;  // Of the last failed write.
  bool work_is_put_off_ GUARDED_BY(commit_mutex_) = false;  // And has been logged.
  // After a failure, in milliseconds since boot.
  int64_t next_reopen_ms_ GUARDED_BY(commit_mutex_) = 0;
  bool closed_ GUARDED_BY(commit_mutex_) = false;

  mutable Mutex slots_mutex_;  // After commit_mutex_.
  std::vector<SlotState> slots_ GUARDED_BY(slots_mutex_);
};

}  // namespace flame
