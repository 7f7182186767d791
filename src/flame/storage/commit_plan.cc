#include "flame/storage/commit_plan.h"

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/storage/coding.h"
#include "flame/storage/object_files.h"
#include "flame/storage/value_record.h"

namespace flame {
namespace {

using arrow::Status;

bool IsLive(const std::optional<Row>& row) { return row && !row->deleted; }

bool IsOnFile(const Location& location) {
  return location.type == Location::Type::kFile ||
         location.type == Location::Type::kUnread;
}

}  // namespace

std::string SlotKey(uint16_t slot, std::string_view key) {
  return BigEndian(slot).append(key);
}

std::string ExpiryKey(int64_t wall_ms, std::string_view key) {
  return BigEndian(static_cast<uint64_t>(wall_ms)).append(key);
}

std::string PatchKey(std::string_view key, Version version) {
  std::string bytes(key);
  bytes.push_back('\0');
  return bytes.append(BigEndian(static_cast<uint64_t>(version)));
}

Status CommitPlan::Add(CommitBatch batch) {
  // Folded tombstones were committed before this batch; one that a mutation of it writes
  // is another.
  for (const auto& [slot, key] : batch.folded) {
    batch_.Delete(Family::kTombstones, SlotKey(slot, key));
  }
  for (Mutation& mutation : batch.mutations)
    ARROW_RETURN_NOT_OK(AddMutation(std::move(mutation)));
  for (const auto& [slot, state] : batch.slots) {
    batch_.Put(Family::kSlots, SlotKey(slot), EncodeSlotState(slot, state));
  }
  slots_ = std::move(batch.slots);
  if (batch.expired_until_ms != 0) {
    batch_.Put(Family::kMeta, kExpiredUntilKey,
               BigEndian(static_cast<uint64_t>(batch.expired_until_ms)));
  }
  return Status::OK();
}

Status CommitPlan::AddMutation(Mutation mutation) {
  const auto [found, is_new] = changes_.try_emplace(
      mutation.key.text(),
      KeyChange{mutation.key, std::nullopt, {}, false, false, nullptr, {}});
  KeyChange& change = found->second;
  if (is_new) change.before = std::move(mutation.previous);
  change.after = std::move(mutation.row);
  if (mutation.base != nullptr || change.after.deleted) {
    change.base_changed = true;
    change.patches_dropped = true;
    change.patches.clear();
    change.base = std::move(mutation.base);
  }
  if (change.base != nullptr) {
    change.after.base = change.base->location();
    if (change.base->has_checksum()) change.after.checksum = change.base->checksum();
  }
  for (auto& [version, patch] : mutation.patches) {
    auto staged = std::dynamic_pointer_cast<FsStaged>(patch);
    if (staged == nullptr) {
      return InvalidError(
          fmt::format("{}: a patch was staged elsewhere", change.key.text()));
    }
    change.patches[version] = std::move(staged);
  }
  return Status::OK();
}

void CommitPlan::MoveBase(const Key& key, const Row& row,
                          std::shared_ptr<StagedPayload> base) {
  KeyChange change{key, row, row, true, false, std::move(base), {}};
  change.after.base = change.base->location();
  if (change.base->has_checksum()) change.after.checksum = change.base->checksum();
  changes_.insert_or_assign(key.text(), std::move(change));
}

Status CommitPlan::Finish() {
  for (const auto& [text, change] : changes_) {
    FileWork& work = work_[text];
    PlanIndexes(change);
    ARROW_RETURN_NOT_OK(PlanBase(change, &work));
    ARROW_RETURN_NOT_OK(PlanPatches(change, &work));
  }
  return Status::OK();
}

/// The row or tombstone, and what finds it.
void CommitPlan::PlanIndexes(const KeyChange& change) {
  const std::string& key = change.key.text();
  const uint16_t slot = change.key.slot();
  const bool was_live = IsLive(change.before);
  const bool is_live = !change.after.deleted;
  const std::string record = EncodeRow(slot, change.after);
  if (is_live) {
    batch_.Put(Family::kRows, key, record);
    if (change.before && !was_live)
      batch_.Delete(Family::kTombstones, SlotKey(slot, key));
    if (!was_live) batch_.Put(Family::kSlotKeys, SlotKey(slot, key), {});
  } else {
    batch_.Put(Family::kTombstones, SlotKey(slot, key), record);
    if (was_live) {
      batch_.Delete(Family::kRows, key);
      batch_.Delete(Family::kSlotKeys, SlotKey(slot, key));
    }
  }

  const int64_t expired = was_live ? change.before->expires_at_ms : 0;
  const int64_t expires = is_live ? change.after.expires_at_ms : 0;
  if (expired != expires) {
    if (expired != 0) batch_.Delete(Family::kExpiry, ExpiryKey(expired, key));
    if (expires != 0) batch_.Put(Family::kExpiry, ExpiryKey(expires, key), {});
  }

  const bool was_dirty = was_live && change.before->base.type == Location::Type::kArena;
  const bool is_dirty = is_live && change.after.base.type == Location::Type::kArena;
  if (was_dirty && !is_dirty) batch_.Delete(Family::kDirty, key);
  if (is_dirty && !was_dirty) batch_.Put(Family::kDirty, key, {});
}

Status CommitPlan::PlanBase(const KeyChange& change, FileWork* work) {
  if (!change.base_changed) return Status::OK();
  const std::string& key = change.key.text();
  const Location& place = change.after.base;  // Of a tombstone: empty.
  const bool is_live = !change.after.deleted;
  const bool is_inline = is_live && place.type == Location::Type::kInline;
  const bool is_file = is_live && place.type == Location::Type::kFile;
  const auto* staged = dynamic_cast<const FsStaged*>(change.base.get());
  if ((is_inline || is_file) && staged == nullptr) {
    return InvalidError(fmt::format("{}: its base was staged elsewhere", key));
  }

  if (is_inline) {
    ARROW_ASSIGN_OR_RAISE(const std::string value,
                          EncodeValue(change.after.base_version, *staged->payload()));
    batch_.Put(Family::kValues, key, value);
  }
  if (is_file && staged->has_temporary_file()) {
    work->renames.emplace_back(place.file_id, place.path);
  }
  if (is_file && staged->is_adopted())
    work->removals.push_back(DeltasOf(place.path) + "/");

  if (!IsLive(change.before)) return Status::OK();
  const Location& old = change.before->base;
  if (old.type == Location::Type::kInline && !is_inline)
    batch_.Delete(Family::kValues, key);
  if (IsOnFile(old) && !(is_file && place.path == old.path))
    work->removals.push_back(old.path);
  if (old.type == Location::Type::kUnread && !(is_file && staged->is_adopted())) {
    work->removals.push_back(DeltasOf(old.path) + "/");
  }
  return Status::OK();
}

Status CommitPlan::PlanPatches(const KeyChange& change, FileWork* work) {
  const std::string& key = change.key.text();
  if (change.patches_dropped && IsLive(change.before) && change.before->patch_count > 0) {
    // One by one, at most 1,000: range tombstones would slow every later look-up in their
    // range down.
    const std::string end = PatchKey(key, change.before->version);
    ARROW_RETURN_NOT_OK(database_->Visit(
        Family::kPatches, PatchKey(key, change.before->base_version + 1),
        [&](std::string_view at, std::string_view record) -> arrow::Result<bool> {
          if (at > end) return false;
          if (at.size() != end.size()) return true;  // A longer key's.
          batch_.Delete(Family::kPatches, at);
          const auto patch = DecodePatch(record);  // A damaged one can still be deleted.
          if (patch.ok() && patch->blob) work->removals.push_back(BlobPath(*patch->blob));
          return true;
        }));
  }
  for (const auto& [version, staged] : change.patches) {
    std::optional<uint64_t> blob;
    if (staged->has_temporary_file()) {
      blob = staged->location().file_id;
      work->renames.emplace_back(*blob, staged->location().path);
    }
    ARROW_ASSIGN_OR_RAISE(const std::string record,
                          EncodePatch(staged->checksum(), *staged->payload(), blob));
    batch_.Put(Family::kPatches, PatchKey(key, version), record);
  }
  return Status::OK();
}

std::vector<FsStaged*> CommitPlan::staged_files() const {
  std::vector<FsStaged*> files;
  const auto add = [&](FsStaged* staged) {
    if (staged != nullptr && staged->has_temporary_file()) files.push_back(staged);
  };
  for (const auto& [key, change] : changes_) {
    add(dynamic_cast<FsStaged*>(change.base.get()));
    for (const auto& [version, patch] : change.patches) add(patch.get());
  }
  return files;
}

}  // namespace flame
