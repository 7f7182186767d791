#include "flame/cache/commit_lane.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "flame/base/error.h"

namespace flame {
namespace {

constexpr size_t kMaxCommitsPerBatch = 256;

/// One batch of the store for all of `commits`; later slot states replace earlier ones.
CommitBatch Merge(const std::vector<PendingCommit*>& commits) {
  if (commits.size() == 1) return std::move(commits[0]->batch);
  CommitBatch merged;
  std::map<uint16_t, SlotState> slots;
  for (PendingCommit* commit : commits) {
    std::move(commit->batch.mutations.begin(), commit->batch.mutations.end(),
              std::back_inserter(merged.mutations));
    std::move(commit->batch.folded.begin(), commit->batch.folded.end(),
              std::back_inserter(merged.folded));
    for (const auto& [slot, state] : commit->batch.slots) slots[slot] = state;
    merged.expired_until_ms =
        std::max(merged.expired_until_ms, commit->batch.expired_until_ms);
  }
  merged.slots.assign(slots.begin(), slots.end());
  return merged;
}

}  // namespace

void CommitLane::Append(PendingCommit* commit) {
  MutexLock lock(mutex_);
  queue_.push_back(commit);
}

arrow::Status CommitLane::Await(PendingCommit* commit) {
  MutexLock lock(mutex_);
  while (!commit->done) {
    if (busy_) {
      commit->changed.Wait(lock);
    } else {
      const std::vector<PendingCommit*> commits = TakeLocked();
      lock.Unlock();
      const arrow::Status status = Work(commits);
      lock.Lock();
      FinishLocked(commits, status);
    }
  }
  return commit->status;
}

std::vector<PendingCommit*> CommitLane::TakeLocked() {
  std::vector<PendingCommit*> commits;
  while (!queue_.empty() && commits.size() < kMaxCommitsPerBatch) {
    commits.push_back(queue_.front());
    queue_.pop_front();
  }
  busy_ = true;
  return commits;
}

arrow::Status CommitLane::Work(const std::vector<PendingCommit*>& commits) {
  auto durability = Durability::kProcess;
  for (const PendingCommit* commit : commits) {
    if (commit->durability == Durability::kDisk) durability = Durability::kDisk;
  }
  CommitBatch batch = Merge(commits);
  arrow::Status status;
  const bool empty =
      batch.mutations.empty() && batch.slots.empty() && batch.folded.empty();
  if (!empty) status = store_->Commit(std::move(batch), durability).status();
  if (status.ok()) {
    for (const PendingCommit* commit : commits) {
      for (const Publication& publication : commit->publications) publish_(publication);
    }
  } else {
    abandon_(status);
  }
  return status;
}

void CommitLane::FinishLocked(const std::vector<PendingCommit*>& commits,
                              const arrow::Status& status) {
  busy_ = false;
  for (PendingCommit* commit : commits) {
    commit->status = status;
    commit->done = true;
    commit->changed.NotifyAll();
  }
  // Somebody must work for those that queued up meanwhile.
  if (!queue_.empty()) queue_.front()->changed.NotifyAll();
}

void CommitLane::FailQueued(const arrow::Status& why) {
  MutexLock lock(mutex_);
  for (PendingCommit* commit : queue_) {
    commit->status = WithOutcome(why, Outcome::kNotApplied);
    commit->done = true;
    commit->changed.NotifyAll();
  }
  queue_.clear();
}

}  // namespace flame
