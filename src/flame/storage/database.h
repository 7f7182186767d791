// Database: the store's RocksDB, in our words: column families by name, our errors.
// Internal to storage/; the only header that shows RocksDB.
//
// Thread-safe.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>
#include <arrow/util/type_fwd.h>

namespace flame {

/// The column families. Keys and values: docs/internals/records.md.
enum class Family {
  kRows,        // Live objects.
  kValues,      // Small bases.
  kPatches,     //
  kTombstones,  // By slot.
  kSlots,       //
  kSlotKeys,    // Live keys by slot.
  kExpiry,      // Live keys by the time of their expiry.
  kDirty,       // Keys whose base is in shared memory only.
  kRedo,        // Keys with file work.
  kMeta,        //
};
inline constexpr int kFamilies = 10;

struct DatabaseOptions {
  std::string path;
  int64_t block_cache_bytes = 1 << 20;
  int64_t write_buffer_bytes = 1 << 20;  // Of all families together.
  /// Of blocks that hold payloads.
  arrow::Compression::type payload_codec = arrow::Compression::UNCOMPRESSED;
  rocksdb::Env* env = nullptr;  // Null = the machine's. Borrowed; outlives the database.
};

class Database {
 public:
  /// Changes that are made together, in order.
  class Batch {
   public:
    void Put(Family family, std::string_view key, std::string_view value);
    void Delete(Family family, std::string_view key);

   private:
    friend class Database;
    explicit Batch(const Database* database) : database_(database) {}
    const Database* database_;  // Borrowed.
    rocksdb::WriteBatch batch_;
  };

  static arrow::Result<std::unique_ptr<Database>> Open(const DatabaseOptions& options);
  ~Database();

  Batch NewBatch() const { return Batch(this); }
  /// Make `batch` survive a kill, or, if `sync`, a power loss. Errors carry an outcome.
  /// After one, writes are refused until Reopen(); reads go on.
  arrow::Status Write(Batch* batch, bool sync);
  /// Without the log: lost by a crash before the next Flush. For what can be made again.
  arrow::Status WriteUnlogged(Batch* batch);
  /// Everything is in tables on the device, so that the next Open replays no log.
  arrow::Status Flush();

  /// A write failed since the last (re)open, or RocksDB's work in the background did.
  bool failed() const { return failed_; }
  /// Try to get over a failure: close RocksDB and open it anew, because its own recovery
  /// does not get over a log that could not be written (7.8). A write that failed with
  /// Outcome::kUnknown may be there afterwards. Reads wait meanwhile. REQUIRES: no other
  /// thread writes.
  arrow::Status Reopen();
  /// Does the disk take data? Writes a little beside the database.
  arrow::Status Probe() const;

  /// False = no such key. Not pinned in RocksDB's cache: a value must not depend on what
  /// Reopen() may close.
  arrow::Result<bool> Get(Family family, std::string_view key, std::string* value) const;
  /// Call `visit` in key order from `start` on until it returns false or fails. It may
  /// not call the database.
  using Visitor =
      std::function<arrow::Result<bool>(std::string_view key, std::string_view value)>;
  arrow::Status Visit(Family family, std::string_view start, const Visitor& visit) const;

  /// The first of the places that has a value, all looked at as of one moment; -1 = none.
  struct Place {
    Family family;
    std::string key;
  };
  arrow::Result<int> GetFirst(const std::vector<Place>& places, std::string* value) const;

  /// A property of RocksDB, summed over the families; 0 while it is closed.
  int64_t Property(const std::string& name) const;
  /// The same for those of the whole database, shared by all families.
  int64_t WholeProperty(const std::string& name) const;

  /// Rises with every change.
  uint64_t position() const;

 private:
  explicit Database(const DatabaseOptions& options) : options_(options) {}
  std::shared_lock<std::shared_mutex> Share() const;
  arrow::Status OpenLocked(bool read_only);
  void CloseLocked();
  arrow::Status Apply(const rocksdb::WriteOptions& options, Batch* batch);
  arrow::Result<int> GetFirst(const rocksdb::ReadOptions& options,
                              const std::vector<Place>& places, std::string* value) const;
  rocksdb::ColumnFamilyHandle* handle(Family family) const {
    return handles_[static_cast<size_t>(family)];
  }

  class FailureListener;

  const DatabaseOptions options_;
  std::atomic<bool> failed_{false};

  // Shared by whoever uses RocksDB, exclusive for Reopen(). The lock prefers readers, who
  // may never pause: while Reopen() wants it, new ones wait at the door.
  mutable std::shared_mutex mutex_;
  mutable std::mutex door_;
  std::atomic<bool> reopening_{false};
  std::unique_ptr<rocksdb::DB> db_;  // Null when not even reading worked.
  std::array<rocksdb::ColumnFamilyHandle*, kFamilies> handles_{};
};

}  // namespace flame
