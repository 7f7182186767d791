#include "flame/storage/database.h"

#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/snapshot.h>
#include <rocksdb/table.h>

#include <cstdarg>
#include <cstdio>
#include <vector>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"

namespace flame {
namespace {

using arrow::Status;

constexpr std::array<const char*, kFamilies> kNames{
    "rows",      "values", "patches", "tombstones", "slots",
    "slot_keys", "expiry", "dirty",   "redo",       "meta"};

rocksdb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view View(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

/// RocksDB's errors in our words.
Status Translate(const rocksdb::Status& status, std::string_view doing) {
  if (status.ok()) return Status::OK();
  const std::string text = status.ToString();
  auto code = ErrorCode::kIo;
  std::string_view next;
  // Background work keeps the words of an error, but not always its subcode.
  if (status.IsNoSpace() || text.find("No space left on device") != text.npos ||
      text.find("Disk quota exceeded") != text.npos) {
    code = ErrorCode::kExhausted;
    next = "; free space on the storage's disk and retry";
  } else if (status.IsCorruption()) {
    code = ErrorCode::kCorrupt;
  } else if (text.find("Read-only file system") != text.npos) {
    code = ErrorCode::kReadOnly;
    next = "; remount the storage's disk for writing";
  }
  return MakeError(code, fmt::format("{}: {}{}", doing, text, next));
}

Status Closed() {
  return MakeError(ErrorCode::kIo,
                   "the database could not be opened again after a failure");
}

spdlog::level::level_enum LevelOf(rocksdb::InfoLogLevel level) {
  switch (level) {
    case rocksdb::DEBUG_LEVEL:
      return spdlog::level::debug;
    case rocksdb::INFO_LEVEL:
    case rocksdb::HEADER_LEVEL:
      return spdlog::level::info;
    case rocksdb::WARN_LEVEL:
      return spdlog::level::warn;
    default:
      return spdlog::level::err;
  }
}

/// RocksDB's own log as lines of ours.
class LogBridge final : public rocksdb::Logger {
 public:
  explicit LogBridge(spdlog::level::level_enum level)
      : rocksdb::Logger(level <= spdlog::level::debug  ? rocksdb::DEBUG_LEVEL
                        : level == spdlog::level::info ? rocksdb::INFO_LEVEL
                        : level == spdlog::level::warn ? rocksdb::WARN_LEVEL
                                                       : rocksdb::ERROR_LEVEL) {}

  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::INFO_LEVEL, format, arguments);
  }
  void Logv(rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel()) return;
    std::array<char, 1024> line;
    std::vsnprintf(line.data(), line.size(), format, arguments);
    FLAME_LOG_AT(rocksdb, LevelOf(level), "{}", line.data());
  }
};

rocksdb::DBOptions MakeOptions(const DatabaseOptions& options) {
  rocksdb::DBOptions db;
  db.create_if_missing = true;
  db.create_missing_column_families = true;
  if (options.env != nullptr) db.env = options.env;
  db.paranoid_checks = true;
  db.db_write_buffer_size = static_cast<size_t>(options.write_buffer_bytes);
  // Small families are rarely flushed by themselves and would keep old logs, which every
  // open replays.
  db.max_total_wal_size = static_cast<uint64_t>(2 * options.write_buffer_bytes);
  // Opening touches few files, whatever their number.
  db.max_open_files = 512;
  db.skip_stats_update_on_db_open = true;
  db.skip_checking_sst_file_sizes_on_db_open = true;
  // Reopen() decides when.
  db.max_bgerror_resume_count = 0;
  db.stats_dump_period_sec = 0;
  db.stats_persist_period_sec = 0;
  // Never a LOG file of its own: on a full disk Debian's build aborts over it.
  const auto level = LibraryLogLevel("rocksdb");
  GetLogger("rocksdb")->set_level(level);
  db.info_log = std::make_shared<LogBridge>(level);
  return db;
}

rocksdb::CompressionType CodecOf(arrow::Compression::type codec) {
  switch (codec) {
    case arrow::Compression::LZ4_FRAME:
      return rocksdb::kLZ4Compression;
    case arrow::Compression::ZSTD:
      return rocksdb::kZSTD;
    default:
      return rocksdb::kNoCompression;
  }
}

rocksdb::ColumnFamilyOptions MakeFamilyOptions(
    Family family, const rocksdb::BlockBasedTableOptions& table,
    arrow::Compression::type payload_codec) {
  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.level_compaction_dynamic_level_bytes = true;
  options.write_buffer_size = 32 << 20;
  // Payloads are often compressed already, and their readers wait for them.
  const bool payloads = family == Family::kValues || family == Family::kPatches;
  options.compression = rocksdb::kLZ4Compression;
  if (payloads) options.compression = CodecOf(payload_codec);
  if (family == Family::kRows || family == Family::kTombstones) {
    // Most look-ups of new keys find nothing: a miss must not read a block.
    options.memtable_whole_key_filtering = true;
    options.memtable_prefix_bloom_size_ratio = 0.02;
  }
  return options;
}

}  // namespace

/// Hears of failed flushes and compactions, which writers only learn of later.
class Database::FailureListener final : public rocksdb::EventListener {
 public:
  explicit FailureListener(std::atomic<bool>* failed) : failed_(failed) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason,
                         rocksdb::Status* status) override {
    // Below that, RocksDB takes writes and tries again by itself.
    if (status->severity() >= rocksdb::Status::kHardError) *failed_ = true;
  }

 private:
  std::atomic<bool>* const failed_;  // Of the database, which outlives its RocksDB.
};

void Database::Batch::Put(Family family, std::string_view key, std::string_view value) {
  // Fails only for keys or values over 4 GiB.
  batch_.Put(database_->handle(family), ToSlice(key), ToSlice(value))
      .PermitUncheckedError();
}

void Database::Batch::Delete(Family family, std::string_view key) {
  batch_.Delete(database_->handle(family), ToSlice(key)).PermitUncheckedError();
}

arrow::Result<std::unique_ptr<Database>> Database::Open(const DatabaseOptions& options) {
  auto database = std::unique_ptr<Database>(new Database(options));
  ARROW_RETURN_NOT_OK(database->OpenLocked(/*read_only=*/false));
  return database;
}

Status Database::OpenLocked(bool read_only) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache =
      rocksdb::NewLRUCache(static_cast<size_t>(options_.block_cache_bytes));
  // Filters and indexes count against the cache too: memory must not grow with what is
  // only stored. They are cut into small parts, so that a look-up brings in what it needs
  // and not a megabyte.
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.pin_top_level_index_and_filter = true;
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.format_version = 5;
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (int i = 0; i < kFamilies; ++i) {
    families.emplace_back(
        kNames[static_cast<size_t>(i)],
        MakeFamilyOptions(static_cast<Family>(i), table, options_.payload_codec));
  }
  families.emplace_back(rocksdb::kDefaultColumnFamilyName,
                        rocksdb::ColumnFamilyOptions());

  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  auto options = MakeOptions(options_);
  options.listeners.push_back(std::make_shared<FailureListener>(&failed_));
  const auto status =
      read_only
          ? rocksdb::DB::OpenForReadOnly(options, options_.path, families, &handles, &db)
          : rocksdb::DB::Open(options, options_.path, families, &handles, &db);
  if (!status.ok()) return Translate(status, "open its database");
  db_.reset(db);
  std::copy_n(handles.begin(), kFamilies, handles_.begin());
  db->DestroyColumnFamilyHandle(handles.back())
      .PermitUncheckedError();  // The default; unused.
  return Status::OK();
}

void Database::CloseLocked() {
  if (db_ == nullptr) return;
  for (auto* handle : handles_)
    db_->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
  db_.reset();
}

Database::~Database() { CloseLocked(); }

std::shared_lock<std::shared_mutex> Database::Share() const {
  if (reopening_) const std::lock_guard door(door_);
  return std::shared_lock(mutex_);
}

Status Database::Reopen() {
  const std::lock_guard door(door_);
  reopening_ = true;
  const std::unique_lock lock(mutex_);
  reopening_ = false;  // Whoever comes now waits for the lock itself.
  CloseLocked();
  const Status opened = OpenLocked(/*read_only=*/false);
  if (opened.ok()) {
    failed_ = false;
    return Status::OK();
  }
  // Readers need no disk that takes data.
  const Status readable = OpenLocked(/*read_only=*/true);
  if (!readable.ok()) FLAME_LOG_ERROR(storage, "{}", readable.ToString());
  return opened;
}

Status Database::Probe() const {
  rocksdb::Env* env = options_.env != nullptr ? options_.env : rocksdb::Env::Default();
  const std::string path = options_.path + "/probe";
  const std::string data(64 << 10, 'p');
  const auto status = rocksdb::WriteStringToFile(env, data, path, /*should_sync=*/true);
  env->DeleteFile(path).PermitUncheckedError();
  return Translate(status, "write to the database");
}

Status Database::Write(Batch* batch, bool sync) {
  rocksdb::WriteOptions options;
  options.sync = sync;
  return Apply(options, batch);
}

Status Database::WriteUnlogged(Batch* batch) {
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  return Apply(options, batch);
}

Status Database::Apply(const rocksdb::WriteOptions& options, Batch* batch) {
  const auto lock = Share();
  if (failed_ || db_ == nullptr) {
    return WithOutcome(
        MakeError(ErrorCode::kIo, "write to the database: an earlier write failed"),
        Outcome::kNotApplied);
  }
  const auto status = db_->Write(options, &batch->batch_);
  if (status.ok()) return Status::OK();
  failed_ = true;
  // A record that could not be written whole is cut off when the log is replayed. One
  // that could not be synced may lie in the log whole, and come back.
  return WithOutcome(Translate(status, "write to the database"),
                     options.sync ? Outcome::kUnknown : Outcome::kNotApplied);
}

Status Database::Flush() {
  const auto lock = Share();
  if (db_ == nullptr) return Closed();
  return Translate(
      db_->Flush(rocksdb::FlushOptions(), {handles_.begin(), handles_.end()}),
      "flush the database");
}

arrow::Result<bool> Database::Get(Family family, std::string_view key,
                                  std::string* value) const {
  const auto lock = Share();
  if (db_ == nullptr) return Closed();
  const auto status =
      db_->Get(rocksdb::ReadOptions(), handle(family), ToSlice(key), value);
  if (status.IsNotFound()) return false;
  ARROW_RETURN_NOT_OK(Translate(status, "read from the database"));
  return true;
}

arrow::Result<int> Database::GetFirst(const std::vector<Place>& places,
                                      std::string* value) const {
  const auto lock = Share();
  if (db_ == nullptr) return Closed();
  const uint64_t before = db_->GetLatestSequenceNumber();
  ARROW_ASSIGN_OR_RAISE(const int found, GetFirst(rocksdb::ReadOptions(), places, value));
  if (found >= 0 || db_->GetLatestSequenceNumber() == before) return found;
  // A commit may have moved it from a later place to an earlier one between the looks.
  // Snapshots cost a lock that all writers want, so one is taken only now.
  rocksdb::ReadOptions options;
  rocksdb::ManagedSnapshot snapshot(db_.get());
  options.snapshot = snapshot.snapshot();
  return GetFirst(options, places, value);
}

arrow::Result<int> Database::GetFirst(const rocksdb::ReadOptions& options,
                                      const std::vector<Place>& places,
                                      std::string* value) const {
  for (size_t i = 0; i < places.size(); ++i) {
    const auto status = db_->Get(options, handle(places[i].family), places[i].key, value);
    if (status.ok()) return static_cast<int>(i);
    if (!status.IsNotFound()) return Translate(status, "read from the database");
  }
  return -1;
}

Status Database::Visit(Family family, std::string_view start,
                       const Visitor& visit) const {
  const auto lock = Share();
  if (db_ == nullptr) return Closed();
  const std::unique_ptr<rocksdb::Iterator> iterator(
      db_->NewIterator(rocksdb::ReadOptions(), handle(family)));
  for (iterator->Seek(ToSlice(start)); iterator->Valid(); iterator->Next()) {
    ARROW_ASSIGN_OR_RAISE(const bool go_on,
                          visit(View(iterator->key()), View(iterator->value())));
    if (!go_on) return Status::OK();
  }
  return Translate(iterator->status(), "read from the database");
}

int64_t Database::Property(const std::string& name) const {
  std::shared_lock lock(mutex_);
  if (db_ == nullptr) return 0;
  int64_t sum = 0;
  for (auto* handle : handles_) {
    uint64_t value = 0;
    if (db_->GetIntProperty(handle, name, &value)) sum += static_cast<int64_t>(value);
  }
  return sum;
}

int64_t Database::WholeProperty(const std::string& name) const {
  std::shared_lock lock(mutex_);
  uint64_t value = 0;
  if (db_ == nullptr || !db_->GetIntProperty(handle(Family::kRows), name, &value))
    return 0;
  return static_cast<int64_t>(value);
}

uint64_t Database::position() const {
  const auto lock = Share();
  return db_ == nullptr ? 0 : db_->GetLatestSequenceNumber();
}

}  // namespace flame
