// Finding and reading.
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/storage/arrow_file.h"
#include "flame/storage/coding.h"
#include "flame/storage/commit_plan.h"
#include "flame/storage/database.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/object_files.h"
#include "flame/storage/value_record.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;

Status Corrupt(std::string what) {
  return MakeError(ErrorCode::kCorrupt, std::move(what));
}

/// Do the bytes match what the commit noted?
Status CheckSum(const Payload& payload, std::optional<uint64_t> expected) {
  if (!expected || ChecksumOf(payload) == *expected) return Status::OK();
  return Corrupt("its bytes do not match their checksum");
}

}  // namespace

Result<std::optional<Row>> FsStore::Find(const Key& key) const {
  std::string record;
  ARROW_ASSIGN_OR_RAISE(
      const int place,
      db_->GetFirst({{Family::kRows, key.text()},
                     {Family::kTombstones, SlotKey(key.slot(), key.text())}},
                    &record));
  if (place < 0) return std::nullopt;
  auto row = DecodeRow(record);
  if (row.ok()) return *std::move(row);
  return Corrupt(fmt::format("{}: {}", key.text(), row.status().message()));
}

Result<StoredObject> FsStore::Read(const Key& key, const Row& row) const {
  StoredObject object;
  Status status;
  auto base = ReadBase(key, row);
  if (base.ok()) {
    object.base = *std::move(base);
    auto patches = ReadPatches(key, row);
    if (patches.ok()) {
      object.last_patch = *std::move(patches);
      return object;
    }
    status = patches.status();
  } else {
    status = base.status();
  }
  if (CodeOf(status) != ErrorCode::kCorrupt) return status;
  // What does not fit the caller's row may fit the row that has replaced it meanwhile.
  ARROW_ASSIGN_OR_RAISE(const auto newest, Find(key));
  if (!newest || newest->deleted || newest->base_version != row.base_version ||
      newest->base.type != row.base.type || newest->base.path != row.base.path) {
    return MakeError(ErrorCode::kStale, fmt::format("{} has been replaced", key.text()));
  }
  return Corrupt(fmt::format("{} v{}: {}", key.text(), row.version, status.message()));
}

Result<std::shared_ptr<const Payload>> FsStore::ReadBase(const Key& key,
                                                         const Row& row) const {
  switch (row.base.type) {
    case Location::Type::kInline:
      return ReadValue(key, row);
    case Location::Type::kFile:
      return ReadFile(row);
    case Location::Type::kArena:
      return Corrupt("its bytes were in shared memory only");
    default:
      return InvalidError(fmt::format("{}: its bytes are not in the store", key.text()));
  }
}

Result<std::shared_ptr<const Payload>> FsStore::ReadValue(const Key& key,
                                                          const Row& row) const {
  std::string record;
  ARROW_ASSIGN_OR_RAISE(const bool found, db_->Get(Family::kValues, key.text(), &record));
  if (!found) return Corrupt("its value is missing");
  ARROW_ASSIGN_OR_RAISE(const auto value, DecodeValue(record));
  if (value.base_version != row.base_version)
    return Corrupt("its value is of another version");
  ARROW_ASSIGN_OR_RAISE(const auto bytes, CopyOf(value.stored));
  if (row.checksum && ChecksumOf(*bytes) != *row.checksum) {
    return Corrupt("its value does not match its checksum");
  }
  std::shared_ptr<arrow::Schema> schema;
  if (row.kind == Kind::kNative) {
    if (row.schema == nullptr) return Corrupt("its schema is missing");
    ARROW_ASSIGN_OR_RAISE(schema, DecodeSchema(row.schema));
  }
  return ReadStored(row.kind, schema, bytes);
}

Result<std::shared_ptr<const Payload>> FsStore::ReadFile(const Row& row) const {
  Status status;
  if (row.base.file_id != 0) {
    // Until the commit's rename, `path` still holds the version before. Then, for a
    // moment, the temporary name does (FileSystem::Rename), and once it is gone, or holds
    // something else, `path` is right.
    auto temporary = ReadFile(row, TemporaryPath(row.base.file_id));
    if (temporary.ok() && *temporary != nullptr) return temporary;
    status = temporary.status();
  }
  auto placed = ReadFile(row, row.base.path);
  if (placed.ok() && *placed != nullptr) return placed;
  ARROW_RETURN_NOT_OK(status);
  ARROW_RETURN_NOT_OK(placed);
  return Corrupt(fmt::format("the file {} is missing", row.base.path));
}

Result<std::shared_ptr<const Payload>> FsStore::ReadFile(const Row& row,
                                                         const std::string& path) const {
  ARROW_ASSIGN_OR_RAISE(const auto bytes, files_->ReadAll(path));
  if (bytes == nullptr) return nullptr;
  FLAME_LOG_DEBUG(storage, "read path={} bytes={}", path, bytes->size());

  std::shared_ptr<const Payload> payload;
  Status status;
  if (row.base.foreign) {
    auto file = ReadForeignFile(bytes);
    status = file.status();
    if (file.ok()) payload = file->payload;
  } else {
    auto own = ReadArrowFile(row.kind, bytes, row.base.stored_bytes);
    status = own.status();
    if (own.ok()) payload = *own;
  }
  if (status.ok() && payload->kind() != row.kind)
    status = Corrupt("it is of another kind");
  if (status.ok()) status = CheckSum(*payload, row.checksum);
  if (status.ok()) return payload;
  return status.WithMessage(fmt::format("the file {}: {}", path, status.message()));
}

Result<std::shared_ptr<const Patch>> FsStore::ReadPatches(const Key& key,
                                                          const Row& row) const {
  if (row.patch_count == 0) return nullptr;
  std::shared_ptr<arrow::Schema> schema;
  if (row.schema != nullptr) {
    ARROW_ASSIGN_OR_RAISE(schema, DecodeSchema(row.schema));
  }
  std::shared_ptr<const Patch> last;
  int32_t count = 0;
  const std::string end = PatchKey(key.text(), row.version);
  ARROW_RETURN_NOT_OK(db_->Visit(
      Family::kPatches, PatchKey(key.text(), row.base_version + 1),
      [&](std::string_view at, std::string_view record) -> Result<bool> {
        if (at > end) return false;
        if (at.size() != end.size()) return true;  // A longer key's.
        const auto version = static_cast<Version>(
            FromBigEndian<uint64_t>(at.substr(at.size() - sizeof(uint64_t))));
        ARROW_ASSIGN_OR_RAISE(const auto patch, DecodePatch(record));
        std::shared_ptr<const Payload> payload;
        if (patch.blob) {
          Row as_row;
          as_row.kind = patch.kind;
          as_row.checksum = patch.checksum;
          as_row.base.path = BlobPath(*patch.blob);
          as_row.base.file_id = *patch.blob;
          ARROW_ASSIGN_OR_RAISE(payload, ReadFile(as_row));
        } else {
          ARROW_ASSIGN_OR_RAISE(const auto bytes, CopyOf(patch.stored));
          if (ChecksumOf(*bytes) != patch.checksum) {
            return Corrupt(
                fmt::format("its patch v{} does not match its checksum", version));
          }
          ARROW_ASSIGN_OR_RAISE(payload, ReadStored(patch.kind, schema, bytes));
        }
        last =
            std::make_shared<Patch>(Patch{version, std::move(payload), std::move(last)});
        ++count;
        return true;
      }));
  if (count != row.patch_count) {
    return Corrupt(fmt::format("it has {} patches where there should be {}", count,
                               row.patch_count));
  }
  return last;
}

Result<std::vector<std::pair<Key, Row>>> FsStore::Scan(const std::string& prefix,
                                                       const std::string& after,
                                                       int64_t limit) const {
  std::vector<std::pair<Key, Row>> page;
  if (limit <= 0) return page;
  // The first key after `after` is `after` and a NUL.
  const std::string start = after < prefix ? prefix : after + std::string(1, '\0');
  ARROW_RETURN_NOT_OK(
      db_->Visit(Family::kRows, start,
                 [&](std::string_view key, std::string_view record) -> Result<bool> {
                   if (!key.starts_with(prefix)) return false;
                   ARROW_ASSIGN_OR_RAISE(Row row, DecodeRow(record));
                   page.emplace_back(Key::OfText(key), std::move(row));
                   return std::ssize(page) < limit;
                 }));
  return page;
}

Result<std::vector<std::pair<int64_t, Key>>> FsStore::DueBefore(int64_t wall_ms,
                                                                int64_t limit) const {
  std::vector<std::pair<int64_t, Key>> due;
  if (limit <= 0) return due;
  ARROW_RETURN_NOT_OK(db_->Visit(
      Family::kExpiry, {}, [&](std::string_view key, std::string_view) -> Result<bool> {
        if (key.size() < sizeof(uint64_t))
          return Corrupt("stored expiry: its key is damaged");
        const auto at = static_cast<int64_t>(FromBigEndian<uint64_t>(key));
        if (at > wall_ms) return false;
        due.emplace_back(at, Key::OfText(key.substr(sizeof(uint64_t))));
        return std::ssize(due) < limit;
      }));
  return due;
}

Result<std::vector<std::pair<Key, Row>>> FsStore::Tombstones(uint16_t slot) const {
  std::vector<std::pair<Key, Row>> rows;
  const std::string prefix = SlotKey(slot);
  ARROW_RETURN_NOT_OK(db_->Visit(
      Family::kTombstones, prefix,
      [&](std::string_view key, std::string_view record) -> Result<bool> {
        if (!key.starts_with(prefix)) return false;
        ARROW_ASSIGN_OR_RAISE(Row row, DecodeRow(record));
        rows.emplace_back(Key::OfText(key.substr(prefix.size())), std::move(row));
        return true;
      }));
  return rows;
}

Result<std::vector<std::pair<Key, Row>>> FsStore::RecoverDirty() const {
  std::vector<std::pair<Key, Row>> rows;
  std::vector<Key> keys;
  ARROW_RETURN_NOT_OK(db_->Visit(
      Family::kDirty, {}, [&](std::string_view text, std::string_view) -> Result<bool> {
        keys.push_back(Key::OfText(text));
        return true;
      }));
  for (Key& key : keys) {
    ARROW_ASSIGN_OR_RAISE(auto row, Find(key));
    if (row && !row->deleted) rows.emplace_back(std::move(key), *std::move(row));
  }
  return rows;
}

}  // namespace flame
