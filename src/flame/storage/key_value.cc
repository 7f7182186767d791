#include "flame/storage/key_value.h"

#include <sys/stat.h>

#include <filesystem>
#include <map>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/base/mutex.h"
#include "flame/storage/database.h"

namespace flame {
namespace {

using arrow::Status;

class MemoryKeyValue final : public KeyValueStore {
 public:
  Status Write(const std::vector<Change>& changes) override {
    MutexLock lock(mutex_);
    for (const Change& change : changes) {
      if (change.value)
        values_.insert_or_assign(change.key, *change.value);
      else
        values_.erase(change.key);
    }
    return Status::OK();
  }

  arrow::Result<std::optional<std::string>> Get(std::string_view key) const override {
    MutexLock lock(mutex_);
    const auto found = values_.find(key);
    if (found == values_.end()) return std::nullopt;
    return found->second;
  }

  Status Visit(std::string_view prefix, const Visitor& visit) const override {
    MutexLock lock(mutex_);
    for (auto at = values_.lower_bound(prefix);
         at != values_.end() && at->first.starts_with(prefix); ++at) {
      ARROW_ASSIGN_OR_RAISE(const bool go_on, visit(at->first, at->second));
      if (!go_on) break;
    }
    return Status::OK();
  }

 private:
  mutable Mutex mutex_;
  std::map<std::string, std::string, std::less<>> values_ GUARDED_BY(mutex_);
};

/// In one family of the database that objects are kept in, too.
class DiskKeyValue final : public KeyValueStore {
 public:
  explicit DiskKeyValue(std::unique_ptr<Database> database)
      : database_(std::move(database)) {}

  Status Write(const std::vector<Change>& changes) override {
    MutexLock lock(mutex_);  // Reopen() wants no other writer.
    if (database_->failed()) {
      ARROW_RETURN_NOT_OK(database_->Probe());
      ARROW_RETURN_NOT_OK(database_->Reopen());
      FLAME_LOG_INFO(storage, "the disk takes data again");
    }
    Database::Batch batch = database_->NewBatch();
    for (const Change& change : changes) {
      if (change.value)
        batch.Put(Family::kMeta, change.key, *change.value);
      else
        batch.Delete(Family::kMeta, change.key);
    }
    return database_->Write(&batch, /*sync=*/false);
  }

  arrow::Result<std::optional<std::string>> Get(std::string_view key) const override {
    std::string value;
    ARROW_ASSIGN_OR_RAISE(const bool found, database_->Get(Family::kMeta, key, &value));
    if (!found) return std::nullopt;
    return value;
  }

  Status Visit(std::string_view prefix, const Visitor& visit) const override {
    return database_->Visit(
        Family::kMeta, prefix,
        [&](std::string_view key, std::string_view value) -> arrow::Result<bool> {
          if (!key.starts_with(prefix)) return false;
          return visit(key, value);
        });
  }

 private:
  Mutex mutex_;
  const std::unique_ptr<Database> database_;
};

}  // namespace

std::unique_ptr<KeyValueStore> OpenMemoryKeyValue() {
  return std::make_unique<MemoryKeyValue>();
}

arrow::Result<std::unique_ptr<KeyValueStore>> OpenDiskKeyValue(
    const std::string& folder) {
  std::error_code error;
  const std::filesystem::path path(folder);
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) return ErrnoError(error.value(), "create", path.parent_path().string());
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    return ErrnoError(errno, "create", folder);
  DatabaseOptions options;
  options.path = folder + "/db";
  options.block_cache_bytes = 8 << 20;
  options.write_buffer_bytes = 32 << 20;
  auto database = Database::Open(options);
  if (!database.ok()) {
    const std::string text = database.status().message();
    if (text.find("/LOCK") != text.npos) {
      return InvalidError(fmt::format(
          "{} is in use by another process; stop it or choose another storage", folder));
    }
    return database.status().WithMessage(folder, ": ", text);
  }
  return std::make_unique<DiskKeyValue>(*std::move(database));
}

}  // namespace flame
