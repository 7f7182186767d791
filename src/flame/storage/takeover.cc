// Taking over a directory that holds another program's objects: their names become rows,
// their contents stay unread until somebody asks for them. The cost is per name, not per
// byte.
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/storage/commit_plan.h"
#include "flame/storage/database.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/object_files.h"

namespace flame {
namespace {

using arrow::Status;

constexpr char kTakenOverKey[] = "taken_over";
constexpr int64_t kBatch = 1000;
constexpr int64_t kProgressMs = 5000;

Row UnreadRow(const std::string& path, const FileInfo& info) {
  Row row;
  row.wall_ms = info.modified_ms;
  row.base_bytes = info.size;  // As near as one gets without opening it.
  row.base.type = Location::Type::kUnread;
  row.base.path = path;
  row.base.stored_bytes = info.size;
  return row;
}

}  // namespace

/// Once per directory. A crash on the way leaves rows that the next start writes again.
Status FsStore::TakeOver() {
  std::string record;
  ARROW_ASSIGN_OR_RAISE(const bool done, db_->Get(Family::kMeta, kTakenOverKey, &record));
  if (done) return Status::OK();

  int64_t count = 0;
  int64_t reported_ms = options_.clock->BootMs();
  auto batch = db_->NewBatch();
  ARROW_ASSIGN_OR_RAISE(
      const int64_t skipped,
      WalkObjectFiles(
          files_.get(), {}, [&](const Key& key, const std::string& path) -> Status {
            // Of two files for one key the one in its proper place counts, whichever
            // comes first.
            const bool is_proper = path == ForeignPathsOf(key).front();
            if (!is_proper) {
              ARROW_ASSIGN_OR_RAISE(const auto proper,
                                    files_->Stat(ForeignPathsOf(key).front()));
              if (proper) return Status::OK();
            }
            ARROW_ASSIGN_OR_RAISE(const auto info, files_->Stat(path));
            if (!info) return Status::OK();
            batch.Put(Family::kRows, key.text(),
                      EncodeRow(key.slot(), UnreadRow(path, *info)));
            batch.Put(Family::kSlotKeys, SlotKey(key.slot(), key.text()), {});
            if (++count % kBatch != 0) return Status::OK();
            ARROW_RETURN_NOT_OK(db_->WriteUnlogged(&batch));
            batch = db_->NewBatch();
            if (const int64_t now = options_.clock->BootMs();
                now - reported_ms >= kProgressMs) {
              reported_ms = now;
              FLAME_LOG_INFO(storage, "taking over {}: {} objects so far", files_->root(),
                             count);
            }
            return Status::OK();
          }));
  ARROW_RETURN_NOT_OK(db_->WriteUnlogged(&batch));
  if (count > 0) ARROW_RETURN_NOT_OK(db_->Flush());
  auto mark = db_->NewBatch();
  mark.Put(Family::kMeta, kTakenOverKey, "1");
  ARROW_RETURN_NOT_OK(db_->Write(&mark, /*sync=*/true));
  if (count > 0)
    FLAME_LOG_INFO(storage, "took over {}: {} objects", files_->root(), count);
  if (skipped > 0) {
    FLAME_LOG_WARN(storage,
                   "{}: {} files have names that no key can have; they are left alone",
                   files_->root(), skipped);
  }
  return Status::OK();
}

}  // namespace flame
