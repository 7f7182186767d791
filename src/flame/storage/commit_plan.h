// CommitPlan: what a commit changes in the database, and what file work it leaves.
// Internal to storage/.
//
// Only a key's state before the batch and the one after it matter; what lies between was
// never visible. Confined to one thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flame/storage/database.h"
#include "flame/storage/file_work.h"
#include "flame/storage/fs_staged.h"
#include "flame/storage/store.h"

namespace flame {

// Keys of the database's families.
std::string SlotKey(uint16_t slot, std::string_view key = {});
std::string ExpiryKey(int64_t wall_ms, std::string_view key = {});
std::string PatchKey(std::string_view key, Version version);
inline constexpr char kExpiredUntilKey[] = "expired_until";  // Of Family::kMeta.

class CommitPlan {
 public:
  struct KeyChange {
    Key key;
    std::optional<Row> before;
    Row after;
    bool base_changed = false;            // A new one, or none any more.
    bool patches_dropped = false;         // Those of before.
    std::shared_ptr<StagedPayload> base;  // The new one; null = none, or as before.
    std::map<Version, std::shared_ptr<FsStaged>> patches;  // New ones.
  };

  explicit CommitPlan(const Database* database)
      : database_(database), batch_(database->NewBatch()) {}

  arrow::Status Add(CommitBatch batch);
  /// A live row gets its base elsewhere; its patches stay.
  void MoveBase(const Key& key, const Row& row, std::shared_ptr<StagedPayload> base);
  /// After all Adds: fill the database's batch and the work.
  arrow::Status Finish();

  Database::Batch& batch() { return batch_; }
  /// By key; empty works included: a key that was changed has no older ones.
  std::map<std::string, FileWork>& work() { return work_; }
  const std::map<std::string, KeyChange>& changes() const { return changes_; }
  /// The temporary files that the commit makes visible.
  std::vector<FsStaged*> staged_files() const;
  const std::vector<std::pair<uint16_t, SlotState>>& slots() const { return slots_; }

 private:
  arrow::Status AddMutation(Mutation mutation);
  void PlanIndexes(const KeyChange& change);
  arrow::Status PlanBase(const KeyChange& change, FileWork* work);
  arrow::Status PlanPatches(const KeyChange& change, FileWork* work);

  const Database* const database_;  // Borrowed.
  Database::Batch batch_;
  std::map<std::string, KeyChange> changes_;
  std::map<std::string, FileWork> work_;
  std::vector<std::pair<uint16_t, SlotState>> slots_;
};

}  // namespace flame
