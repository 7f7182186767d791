// Staging, committing and closing.
#include "flame/storage/fs_store.h"

#include <algorithm>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/storage/commit_plan.h"
#include "flame/storage/database.h"
#include "flame/storage/fs_staged.h"
#include "flame/storage/object_files.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;

constexpr int64_t kMaxPack = 4 << 20;
/// Patches below this never get a file each, whatever `pack_below` says: there are up to
/// 1,000 of them per object.
constexpr int64_t kMinPatchPack = 64 << 10;
/// How many commits share one sync of the directories that they changed.
constexpr int64_t kMaxUnsynced = 64;
/// Failed file work that a commit tries again.
constexpr int kMaxRetries = 16;

/// Of an older mark, what is still to be done now that the key has changed: temporary
/// files that nothing names any more go.
void Inherit(const FileWork& old, const CommitPlan::KeyChange& change, FileWork* work) {
  const Location& base = change.after.base;
  const bool has_file = !change.after.deleted && base.type == Location::Type::kFile;
  for (const auto& [file_id, path] : old.renames) {
    const bool is_blob = path == BlobPath(file_id);
    const bool is_base = has_file && base.file_id == file_id;
    if (is_base || (is_blob && !change.patches_dropped)) {
      work->renames.emplace_back(file_id, path);
    } else {
      work->removals.push_back(TemporaryPath(file_id));
    }
  }
  for (const auto& path : old.removals) {
    const bool needed = has_file && path == base.path;
    if (!needed && std::count(work->removals.begin(), work->removals.end(), path) == 0) {
      work->removals.push_back(path);
    }
  }
}

}  // namespace

FsStore::FsStore(const FsStoreOptions& options, std::shared_ptr<FileSystem> files)
    : options_(options),
      files_(std::move(files)),
      health_(files_->root(), options.clock),
      slots_(kSlots) {}

FsStore::~FsStore() = default;

// Staging

Result<std::shared_ptr<StagedPayload>> FsStore::StageBase(
    const Key& key, std::shared_ptr<const Payload> payload, Version version) {
  if (StoredSize(*payload) < std::min(options_.pack_below, kMaxPack)) {
    return FsStaged::Inline(std::move(payload));
  }
  const uint64_t file_id = NextFileId();
  return StageFile(PathOf(key, file_id), file_id, std::move(payload), version);
}

Result<std::shared_ptr<StagedPayload>> FsStore::StagePatch(
    const Key& key, std::shared_ptr<const Payload> payload, Version version) {
  if (StoredSize(*payload) < std::clamp(options_.pack_below, kMinPatchPack, kMaxPack)) {
    return FsStaged::Inline(std::move(payload));
  }
  const uint64_t file_id = NextFileId();
  return StageFile(BlobPath(file_id), file_id, std::move(payload), version);
}

Result<std::shared_ptr<FsStaged>> FsStore::StageFile(
    std::string path, uint64_t file_id, std::shared_ptr<const Payload> payload,
    Version version) {
  auto staged = FsStaged::Write(files_, std::move(path), file_id, std::move(payload),
                                version, options_.compression);
  Status status = staged.status();
  // Here, where many callers may wait at once, rather than in Commit, where one does.
  if (status.ok() && options_.sync_always) status = (*staged)->Sync();
  if (status.ok()) return staged;
  staged = status;  // Its file is gone when the disk is looked at.
  JudgeDisk();
  return WithOutcome(status, Outcome::kNotApplied);
}

void FsStore::JudgeDisk() {
  if (health_.failing()) return;
  const Status probe = db_->Probe();
  if (probe.ok()) return;
  no_new_files_ = true;
  health_.Failed(probe);
}

// Committing

Result<uint64_t> FsStore::Commit(CommitBatch batch, Durability durability) {
  CommitPlan plan(db_.get());
  MutexLock lock(commit_mutex_);
  if (db_->failed()) ARROW_RETURN_NOT_OK(RecoverLocked());
  const int64_t expired_until_ms = batch.expired_until_ms;
  Status status = plan.Add(std::move(batch));
  if (status.ok()) status = plan.Finish();
  if (!status.ok()) return WithOutcome(status, Outcome::kNotApplied);
  ARROW_RETURN_NOT_OK(CommitLocked(&plan, durability));
  if (expired_until_ms > expired_until_ms_) expired_until_ms_ = expired_until_ms;
  return db_->position();
}

Status FsStore::MarkClean(const Key& key, uint64_t seq,
                          std::shared_ptr<StagedPayload> written) {
  MutexLock lock(commit_mutex_);
  if (db_->failed()) ARROW_RETURN_NOT_OK(RecoverLocked());
  ARROW_ASSIGN_OR_RAISE(const auto row, Find(key));
  if (!row || row->deleted || row->seq != seq ||
      row->base.type != Location::Type::kArena) {
    return Status::OK();
  }
  CommitPlan plan(db_.get());
  plan.MoveBase(key, *row, std::move(written));
  ARROW_RETURN_NOT_OK(plan.Finish());
  return CommitLocked(&plan,
                      options_.sync_always ? Durability::kDisk : Durability::kProcess);
}

Status FsStore::CommitLocked(CommitPlan* plan, Durability durability) {
  const bool sync = durability == Durability::kDisk;
  const auto staged_files = plan->staged_files();
  Status status;
  if (sync && !staged_files.empty()) {
    for (FsStaged* staged : staged_files) {
      if (status.ok()) status = staged->Sync();
    }
    if (status.ok()) status = files_->Sync(kTemporaryDirectory);
  }
  if (!status.ok()) {
    JudgeDisk();
    return WithOutcome(status, Outcome::kNotApplied);
  }

  // Redo marks: what this batch leaves to do, and older marks whose work is done.
  for (auto& [key, work] : plan->work()) {
    const auto old = pending_.find(key);
    if (old != pending_.end()) Inherit(old->second.work, plan->changes().at(key), &work);
    if (!work.empty()) {
      plan->batch().Put(Family::kRedo, key, EncodeFileWork(work));
    } else if (old != pending_.end()) {
      plan->batch().Delete(Family::kRedo, key);
    }
  }
  for (const auto& key : finished_) {
    const auto changed = plan->work().find(key);
    if (changed == plan->work().end() || changed->second.empty()) {
      plan->batch().Delete(Family::kRedo, key);
    }
  }

  status = db_->Write(&plan->batch(), sync);
  if (!status.ok()) {
    health_.Failed(status);
    const ErrorDetail* detail = DetailOf(status);
    if (detail != nullptr && detail->outcome == Outcome::kUnknown) {
      outcome_unknown_ = true;
      for (FsStaged* staged : staged_files) staged->Keep();
    }
    return status;
  }

  // Committed. Nothing below may fail the commit: what can't be done now is done later.
  if (!staged_files.empty()) no_new_files_ = false;
  if (!no_new_files_) health_.Worked();
  for (FsStaged* staged : staged_files) staged->Keep();
  finished_.clear();
  {
    MutexLock slots_lock(slots_mutex_);
    for (const auto& [slot, state] : plan->slots()) slots_[slot] = state;
  }
  std::vector<std::string> retries;
  for (const auto& [key, pending] : pending_) {
    if (!pending.done && std::ssize(retries) < kMaxRetries &&
        !plan->work().contains(key)) {
      retries.push_back(key);
    }
  }
  for (auto& [key, work] : plan->work()) {
    if (const auto old = pending_.find(key); old != pending_.end()) {
      if (old->second.done) --unsynced_;
      pending_.erase(old);
    }
    if (work.empty()) continue;
    pending_[key].work = std::move(work);
    FinishLocked(key, durability);
  }
  for (const auto& key : retries) FinishLocked(key, durability);
  if (work_is_put_off_ &&
      std::all_of(pending_.begin(), pending_.end(),
                  [](const auto& pending) { return pending.second.done; })) {
    work_is_put_off_ = false;
    FLAME_LOG_INFO(storage, "all file work of commits is done");
  }
  if (unsynced_ >= kMaxUnsynced) {
    if (const Status synced = SyncPendingLocked(); !synced.ok()) {
      FLAME_LOG_WARN(storage, "{}", synced.ToString());
    }
  }
  return Status::OK();
}

/// Do the key's file work. Afterwards its mark may go: with the next batch, or, if a
/// power loss must not undo the work behind the mark's back, with the first batch after a
/// sync of the directories.
void FsStore::FinishLocked(const std::string& key, Durability durability) {
  const auto pending = pending_.find(key);
  std::set<std::string> touched;
  const Status status = DoFileWork(files_.get(), pending->second.work, &touched);
  if (!status.ok()) {
    if (!std::exchange(work_is_put_off_, true)) {
      FLAME_LOG_WARN(storage, "file work of commits is put off: {}", status.message());
    }
  } else if (durability == Durability::kDisk) {
    pending->second.done = true;
    ++unsynced_;
    unsynced_directories_.merge(touched);
  } else {
    finished_.push_back(key);
    pending_.erase(pending);
  }
}

Status FsStore::SyncPendingLocked() {
  for (const auto& directory : unsynced_directories_) {
    ARROW_RETURN_NOT_OK(files_->Sync(directory));
  }
  unsynced_directories_.clear();
  unsynced_ = 0;
  for (auto pending = pending_.begin(); pending != pending_.end();) {
    if (pending->second.done) {
      finished_.push_back(pending->first);
      pending = pending_.erase(pending);
    } else {
      ++pending;
    }
  }
  return Status::OK();
}

SlotState FsStore::Slot(uint16_t slot) const {
  MutexLock lock(slots_mutex_);
  SlotState state = slots_[slot];
  state.generation = std::max(state.generation, identity_.generation);
  return state;
}

// Closing

Status FsStore::Close() {
  MutexLock lock(commit_mutex_);
  if (std::exchange(closed_, true)) return Status::OK();
  if (db_->failed()) {
    next_reopen_ms_ = 0;
    ARROW_RETURN_NOT_OK(ReopenLocked());
  }
  ARROW_RETURN_NOT_OK(SyncPendingLocked());
  auto batch = db_->NewBatch();
  for (const auto& key : finished_) batch.Delete(Family::kRedo, key);
  ARROW_RETURN_NOT_OK(db_->Write(&batch, /*sync=*/true));
  finished_.clear();
  ARROW_RETURN_NOT_OK(db_->Flush());
  Identity identity = identity_;
  identity.clean_head = db_->position();
  ARROW_RETURN_NOT_OK(WriteIdentity(files_.get(), identity));
  FLAME_LOG_DEBUG(storage, "closed session={} position={}", identity.session,
                  *identity.clean_head);
  return Status::OK();
}

}  // namespace flame
