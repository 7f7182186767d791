// Opening: the lock, the database, the identity, and what a crash left to do.
#include <algorithm>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/storage/coding.h"
#include "flame/storage/commit_plan.h"
#include "flame/storage/database.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/object_files.h"
#include "flame/storage/uuid.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;

constexpr char kLockPath[] = ".flame/lock";
constexpr char kAnchorKey[] = "anchor";
constexpr int kSessionShift = 40;  // Of file ids.
constexpr int64_t kReopenPauseMs = 200;

}  // namespace

Result<std::unique_ptr<FsStore>> FsStore::Open(const FsStoreOptions& options) {
  auto files = options.file_system;
  if (files == nullptr) {
    ARROW_ASSIGN_OR_RAISE(files, OpenFileSystem(options.root));
  }
  auto store = std::unique_ptr<FsStore>(new FsStore(options, files));
  Status status = store->Lock();
  if (status.ok()) status = store->OpenDatabase();
  if (status.ok()) status = store->Identify();
  if (status.ok()) status = store->LoadSlots();
  if (status.ok()) {
    MutexLock lock(store->commit_mutex_);
    status = store->RedoLocked();
  }
  if (status.ok()) status = store->RemoveLeftovers();
  if (status.ok()) status = store->TakeOver();
  if (!status.ok()) {
    return status.WithMessage(
        fmt::format("storage {}: {}", files->root(), status.message()));
  }
  return store;
}

Status FsStore::Lock() {
  for (const char* path : {kTemporaryDirectory, kBlobDirectory, kQuarantineDirectory}) {
    ARROW_RETURN_NOT_OK(files_->MakeDirectories(path));
  }
  ARROW_ASSIGN_OR_RAISE(lock_, files_->TryLock(kLockPath));
  if (lock_ == nullptr) {
    return MakeError(ErrorCode::kIo,
                     "another server uses it; give each server its own directory");
  }
  // Before RocksDB gets to see what a newer program may have written.
  return ReadIdentity(files_.get()).status();
}

Status FsStore::OpenDatabase() {
  DatabaseOptions options;
  options.path = files_->root() + "/.flame/db";
  options.block_cache_bytes = options_.block_cache_bytes;
  options.write_buffer_bytes = options_.write_buffer_bytes;
  options.env = options_.env;
  options.payload_codec = options_.compression.codec;
  ARROW_ASSIGN_OR_RAISE(db_, Database::Open(options));
  return Status::OK();
}

/// Who are we, and does the database know every version that was given out?
Status FsStore::Identify() {
  ARROW_ASSIGN_OR_RAISE(const auto found, ReadIdentity(files_.get()));
  ARROW_ASSIGN_OR_RAISE(FileMark mark, ReadFileMark(files_.get()));
  std::string record;
  ARROW_ASSIGN_OR_RAISE(const bool has_anchor,
                        db_->Get(Family::kMeta, kAnchorKey, &record));
  const std::string boot_id = options_.boot_id.value_or(ReadBootId());

  Anchor anchor;
  std::string_view doubt;
  if (has_anchor) {
    ARROW_ASSIGN_OR_RAISE(anchor, DecodeAnchor(record));
    doubt = WhyNotContinuous(found, anchor, mark, boot_id, db_->position());
  } else {
    anchor.store_id = NewUuid();
    if (found) {
      anchor.session = found->session;
      doubt = "its database is gone";
    }
  }
  if (found) anchor.generation = std::max(anchor.generation, found->generation);
  if (!doubt.empty()) {
    ++anchor.generation;
    FLAME_LOG_WARN(storage,
                   "{}: {}; versions go on at {} so that none is given out twice",
                   files_->root(), doubt, anchor.generation << kGenerationShift);
  }
  ++anchor.session;

  // For good: nobody counts the files that are compressed.
  if (found) identity_.features = found->features;
  if (options_.compression.codec != arrow::Compression::UNCOMPRESSED)
    identity_.features |= kCompressedFiles;
  identity_.store_id = anchor.store_id;
  identity_.session = anchor.session;
  identity_.generation = anchor.generation;
  identity_.boot_id = boot_id;
  identity_.sync_always = options_.sync_always;
  identity_.clean_head.reset();
  if (mark.inode == 0) {  // Make the file, so that the anchor can name it.
    ARROW_RETURN_NOT_OK(files_->Overwrite(".flame/identity", {}));
    ARROW_ASSIGN_OR_RAISE(mark, ReadFileMark(files_.get()));
  }
  anchor.mark = mark;
  // The anchor first: see WhyNotContinuous.
  auto batch = db_->NewBatch();
  batch.Put(Family::kMeta, kAnchorKey, EncodeAnchor(anchor));
  ARROW_RETURN_NOT_OK(db_->Write(&batch, /*sync=*/true));
  ARROW_RETURN_NOT_OK(WriteIdentity(files_.get(), identity_));
  next_file_id_ = (anchor.session << kSessionShift) + 1;
  return Status::OK();
}

Status FsStore::LoadSlots() {
  std::vector<SlotState> slots(kSlots);
  ARROW_RETURN_NOT_OK(
      db_->Visit(Family::kSlots, {},
                 [&](std::string_view key, std::string_view record) -> Result<bool> {
                   const bool whole = key.size() == sizeof(uint16_t);
                   const uint16_t slot = whole ? FromBigEndian<uint16_t>(key) : kSlots;
                   if (slot >= kSlots)
                     return MakeError(ErrorCode::kCorrupt, "stored slot: no such slot");
                   ARROW_ASSIGN_OR_RAISE(slots[slot], DecodeSlotState(record));
                   return true;
                 }));
  std::string expired_until;
  ARROW_ASSIGN_OR_RAISE(const bool known,
                        db_->Get(Family::kMeta, kExpiredUntilKey, &expired_until));
  if (known && expired_until.size() == sizeof(uint64_t)) {
    expired_until_ms_ = static_cast<int64_t>(FromBigEndian<uint64_t>(expired_until));
  }
  MutexLock lock(slots_mutex_);
  slots_ = std::move(slots);
  return Status::OK();
}

/// Finish the file work of commits that a crash, or a failure, came after.
Status FsStore::RedoLocked() {
  std::map<std::string, Pending> found;
  ARROW_RETURN_NOT_OK(
      db_->Visit(Family::kRedo, {},
                 [&](std::string_view key, std::string_view record) -> Result<bool> {
                   ARROW_ASSIGN_OR_RAISE(auto work, DecodeFileWork(record));
                   found[std::string(key)].work = std::move(work);
                   return true;
                 }));
  pending_ = std::move(found);
  finished_.clear();
  unsynced_ = 0;
  std::vector<std::string> keys;
  for (const auto& [key, pending] : pending_) keys.push_back(key);
  // As for a power loss: the marks go when the directories are synced.
  for (const auto& key : keys) FinishLocked(key, Durability::kDisk);
  if (keys.empty()) return Status::OK();
  FLAME_LOG_INFO(storage, "finished the file work of {} keys that was left undone",
                 keys.size() - pending_.size() + static_cast<size_t>(unsynced_));
  return SyncPendingLocked();
}

/// A write to the database failed earlier. Nothing of it may be taken for known but what
/// the database says itself.
Status FsStore::RecoverLocked() {
  ARROW_RETURN_NOT_OK(WithOutcome(ReopenLocked(), Outcome::kNotApplied));
  if (!std::exchange(outcome_unknown_, false)) return Status::OK();
  // A commit that its caller took for lost may be there now; what was decided without it
  // is void.
  return WithOutcome(MakeError(ErrorCode::kUnavailable,
                               "the database has recovered from a failed write; retry"),
                     Outcome::kNotApplied);
}

Status FsStore::ReopenLocked() {
  const int64_t now_ms = options_.clock->BootMs();
  if (now_ms < next_reopen_ms_) return health_.Get().status;
  Status status = db_->Probe();
  if (status.ok()) {
    status = db_->Reopen();
    // Readers wait while it is tried: not with every write.
    if (!status.ok()) next_reopen_ms_ = now_ms + kReopenPauseMs;
    if (status.ok()) status = LoadSlots();
    if (status.ok()) status = RedoLocked();
  }
  if (!status.ok()) health_.Failed(status);
  return status;
}

void FsStore::TryRecover() {
  if (!health_.failing() && !db_->failed()) return;
  MutexLock lock(commit_mutex_);
  if (closed_) return;
  Status status;
  if (db_->failed() && !outcome_unknown_) {
    status = ReopenLocked();
  } else {
    status = db_->Probe();
  }
  if (!status.ok()) return health_.Failed(status);
  no_new_files_ = false;
  health_.Worked();
}

/// Temporary files that no commit names: their writers never came to commit.
Status FsStore::RemoveLeftovers() {
  std::set<std::string> named;
  {
    MutexLock lock(commit_mutex_);
    for (const auto& [key, pending] : pending_) {
      for (const auto& [file_id, path] : pending.work.renames) {
        named.insert(TemporaryPath(file_id));
        named.insert(TemporaryPath(file_id) + kReplacedSuffix);
      }
    }
  }
  std::vector<std::string> leftovers;
  ARROW_RETURN_NOT_OK(files_
                          ->List(kTemporaryDirectory,
                                 [&](const std::string& name, FileType type) {
                                   std::string path =
                                       fmt::format("{}/{}", kTemporaryDirectory, name);
                                   if (!named.contains(path))
                                     leftovers.push_back(std::move(path));
                                   return Status::OK();
                                 })
                          .status());
  for (const auto& path : leftovers) {
    const auto removed = files_->Unlink(path);
    if (!removed.ok()) FLAME_LOG_WARN(storage, "{}", removed.status().ToString());
  }
  return Status::OK();
}

}  // namespace flame
