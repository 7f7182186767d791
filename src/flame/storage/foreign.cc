// Files that other programs left: the existing server, and clients in local mode.
#include <algorithm>
#include <charconv>
#include <tuple>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/storage/arrow_file.h"
#include "flame/storage/fs_staged.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/object_files.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;

/// A file that nobody has told us of yet may be half written: it is not bad before it has
/// been left alone for so long.
constexpr int64_t kSettledMs = 10'000;

/// Patches in the order of the existing server: by number, then those without one by
/// name.
std::vector<std::string> SortedDeltas(std::vector<std::string> names) {
  const auto rank = [](const std::string& name) {
    const std::string_view stem(name.data(),
                                name.size() - std::string_view(".arrow").size());
    uint64_t number = 0;
    const auto [stop, error] =
        std::from_chars(stem.data(), stem.data() + stem.size(), number);
    const bool numeric = error == std::errc() && stop == stem.data() + stem.size();
    return std::tuple(!numeric, numeric ? number : 0, name);
  };
  std::sort(names.begin(), names.end(),
            [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  return names;
}

}  // namespace

Result<std::optional<ForeignObject>> FsStore::ReadForeign(const Key& key,
                                                          const Row* row) const {
  const auto paths =
      row != nullptr ? std::vector<std::string>{row->base.path} : ForeignPathsOf(key);
  for (const auto& path : paths) {
    ARROW_ASSIGN_OR_RAISE(const auto info, files_->Stat(path));
    if (!info) continue;
    if (info->type != FileType::kFile) {
      FLAME_LOG_WARN(storage, "{} is not a regular file; it is left alone", path);
      continue;
    }
    ARROW_ASSIGN_OR_RAISE(const auto bytes, files_->ReadAll(path));
    if (bytes == nullptr) continue;
    const auto file = ReadForeignFile(bytes);
    if (file.ok()) {
      ForeignObject object;
      object.base = file->payload;
      object.base_version = file->version;
      object.path = path;
      ARROW_RETURN_NOT_OK(ReadDeltas(path, &object));
      FLAME_LOG_DEBUG(storage, "found path={} bytes={} patches={}", path,
                      object.base->size(), object.patches.size());
      return object;
    }
    if (CodeOf(file.status()) != ErrorCode::kCorrupt) return file.status();
    if (row == nullptr && options_.clock->WallMs() - info->modified_ms < kSettledMs)
      continue;
    Quarantine(path, file.status());
  }
  return std::nullopt;
}

Status FsStore::ReadDeltas(const std::string& path, ForeignObject* object) const {
  const std::string directory = DeltasOf(path);
  std::vector<std::string> names;
  ARROW_RETURN_NOT_OK(files_
                          ->List(directory,
                                 [&](const std::string& name, FileType type) {
                                   if (type == FileType::kFile &&
                                       name.ends_with(".arrow"))
                                     names.push_back(name);
                                   return Status::OK();
                                 })
                          .status());
  if (!names.empty() && object->base->kind() == Kind::kNative) {
    FLAME_LOG_WARN(storage,
                   "{}: {} patches of an Arrow table can't be applied and are dropped",
                   path, names.size());
    return Status::OK();
  }
  Version last = object->base_version;
  Version position = 0;
  for (const auto& name : SortedDeltas(std::move(names))) {
    const std::string delta_path = directory + "/" + name;
    const Version by_position = object->base_version + ++position;
    ARROW_ASSIGN_OR_RAISE(const auto bytes, files_->ReadAll(delta_path));
    if (bytes == nullptr) continue;
    auto delta = ReadForeignFile(bytes);
    if (delta.ok() && delta->payload->kind() != Kind::kOpaque) {
      delta =
          MakeError(ErrorCode::kCorrupt, "a patch is opaque bytes, and this is a table");
    }
    if (!delta.ok()) {
      if (CodeOf(delta.status()) != ErrorCode::kCorrupt) return delta.status();
      Quarantine(delta_path, delta.status());
      continue;
    }
    // Old servers stored no version with a patch.
    const Version version = delta->version != 0 ? delta->version : by_position;
    if (version <= object->base_version) {
      FLAME_LOG_WARN(storage, "{}: v{} is in the base v{} already; dropped", delta_path,
                     version, object->base_version);
      continue;
    }
    if (version <= last) {
      FLAME_LOG_WARN(storage, "{}: v{} does not follow v{}; dropped with all after it",
                     delta_path, version, last);
      break;
    }
    object->patches.emplace_back(version, delta->payload);
    last = version;
  }
  return Status::OK();
}

/// Move a bad file out of the way, so that it neither answers nor stops anything, and
/// keep it for people.
void FsStore::Quarantine(const std::string& path, const Status& why) const {
  ++quarantined_;
  const uint64_t id = next_file_id_.fetch_add(1, std::memory_order_relaxed);
  // A short name: the object's own may be as long as a name can be.
  const std::string aside = fmt::format("{}/{:016x}.arrow", kQuarantineDirectory, id);
  const auto moved = files_->Rename(path, aside);
  if (moved.ok()) {
    FLAME_LOG_WARN(storage, "{} can't be read ({}); moved to {}", path, why.message(),
                   aside);
  } else {
    FLAME_LOG_ERROR(storage, "{} can't be read ({}), nor moved aside: {}", path,
                    why.message(), moved.status().ToString());
  }
}

Result<std::shared_ptr<StagedPayload>> FsStore::AdoptBase(const Key& key,
                                                          const ForeignObject& object) {
  return FsStaged::Adopted(object.path, object.base);
}

Result<std::vector<Key>> FsStore::Strays(const std::string& prefix, int64_t limit) const {
  std::vector<Key> strays;
  const Status enough = MakeError(ErrorCode::kCancelled, "enough");
  const auto walked = WalkObjectFiles(
      files_.get(), prefix, [&](const Key& key, const std::string& path) -> Status {
        ARROW_ASSIGN_OR_RAISE(const auto row, Find(key));
        if (!row) strays.push_back(key);
        return std::ssize(strays) < limit ? Status::OK() : enough;
      });
  if (!walked.ok() && !IsError(walked.status(), ErrorCode::kCancelled))
    return walked.status();
  return strays;
}

}  // namespace flame
