// CommitLane: makes appended writes durable and publishes them, in the order in which
// they were appended. Group commit: the first writer that finds the lane idle works for
// all that queued up meanwhile, as one batch of the store.
//
// Thread-safe. Lock order: shard locks, then the lane's.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include <arrow/status.h>

#include "flame/base/mutex.h"
#include "flame/cache/feed.h"
#include "flame/storage/store.h"

namespace flame {

/// What readers are to see once its commit is durable.
struct Publication {
  CommitEvent event;
  Row row;
  uint64_t previous_seq = 0;               // Of the row that this one replaces; 0 = none.
  std::shared_ptr<const Payload> payload;  // The new base or patch; null for deletes.
  // Adoption: all that came with it.
  std::vector<std::pair<Version, std::shared_ptr<const Payload>>> patches;
};

/// One writer's appended work. Lives on the writer's stack until the lane is done with
/// it.
struct PendingCommit {
  CommitBatch batch;
  std::vector<Publication> publications;  // One per mutation, in order.
  Durability durability = Durability::kProcess;

 private:
  friend class CommitLane;
  bool done = false;
  arrow::Status status;
  CondVar changed;
};

class CommitLane {
 public:
  /// `publish` shows one commit to readers; `abandon` is called, with no lane lock held
  /// and before anyone is answered, when a batch failed: it must take `DrainLocked`'s
  /// commits out and reset what was appended.
  CommitLane(Store* store, std::function<void(const Publication&)> publish,
             std::function<void(const arrow::Status&)> abandon)
      : store_(store), publish_(std::move(publish)), abandon_(std::move(abandon)) {}

  /// Append. REQUIRES: the shard locks of all its keys are held, so that the order is
  /// that of the versions.
  void Append(PendingCommit* commit);
  /// Wait until `commit` is durable and published, working for the lane if nobody does.
  /// No lock may be held.
  arrow::Status Await(PendingCommit* commit);
  /// For `abandon`, with all shard locks held: every appended commit that has not been
  /// handed to the store fails too, because its versions were built on the failed ones.
  void FailQueued(const arrow::Status& why);

 private:
  /// The commits of the next batch; until they are finished, the lane is busy.
  std::vector<PendingCommit*> TakeLocked() REQUIRES(mutex_);
  /// Commit and publish them, or abandon them and all that came after.
  arrow::Status Work(const std::vector<PendingCommit*>& commits) EXCLUDES(mutex_);
  void FinishLocked(const std::vector<PendingCommit*>& commits,
                    const arrow::Status& status) REQUIRES(mutex_);

  Store* const store_;  // Borrowed.
  const std::function<void(const Publication&)> publish_;
  const std::function<void(const arrow::Status&)> abandon_;

  Mutex mutex_;
  std::deque<PendingCommit*> queue_ GUARDED_BY(mutex_);
  bool busy_ GUARDED_BY(mutex_) = false;
};

}  // namespace flame
