#include "flame/storage/fs_staged.h"

#include "flame/base/log.h"
#include "flame/storage/arrow_file.h"
#include "flame/storage/object_files.h"

namespace flame {

FsStaged::FsStaged(std::shared_ptr<const Payload> payload) {
  checksum_ = ChecksumOf(*payload);
  has_checksum_ = true;
  location_.stored_bytes = StoredSize(*payload);
  payload_ = std::move(payload);
}

std::shared_ptr<FsStaged> FsStaged::Inline(std::shared_ptr<const Payload> payload) {
  auto staged = std::shared_ptr<FsStaged>(new FsStaged(std::move(payload)));
  staged->location_.type = Location::Type::kInline;
  return staged;
}

arrow::Result<std::shared_ptr<FsStaged>> FsStaged::Write(
    std::shared_ptr<FileSystem> files, std::string path, uint64_t file_id,
    std::shared_ptr<const Payload> payload, Version version,
    const FileCompression& compression) {
  auto staged = std::shared_ptr<FsStaged>(new FsStaged(std::move(payload)));
  staged->location_.type = Location::Type::kFile;
  staged->location_.path = std::move(path);
  staged->location_.file_id = file_id;
  ARROW_ASSIGN_OR_RAISE(const auto file, files->Create(TemporaryPath(file_id)));
  staged->files_ = std::move(files);  // From here on, the file goes with the handle.
  ARROW_RETURN_NOT_OK(
      WriteArrowFile(*staged->payload_, version, file.get(), compression));
  ARROW_RETURN_NOT_OK(
      file->Close());  // A batch may hold more of them than a process may have open.
  FLAME_LOG_DEBUG(storage, "staged file={:016x} path={} bytes={}", file_id,
                  staged->location_.path, staged->location_.stored_bytes);
  return staged;
}

std::shared_ptr<FsStaged> FsStaged::Adopted(std::string path,
                                            std::shared_ptr<const Payload> payload) {
  auto staged = std::shared_ptr<FsStaged>(new FsStaged(std::move(payload)));
  staged->location_.type = Location::Type::kFile;
  staged->location_.path = std::move(path);
  staged->location_.foreign = true;
  return staged;
}

FsStaged::~FsStaged() {
  if (files_ == nullptr || keep_) return;
  const auto removed = files_->Unlink(TemporaryPath(location_.file_id));
  // The disk fails, which the store has logged. The next start removes what is left.
  if (!removed.ok()) FLAME_LOG_DEBUG(storage, "{}", removed.status().ToString());
}

arrow::Status FsStaged::Sync() {
  if (files_ == nullptr || synced_) return arrow::Status::OK();
  ARROW_RETURN_NOT_OK(files_->Sync(TemporaryPath(location_.file_id)));
  synced_ = true;
  return arrow::Status::OK();
}

}  // namespace flame
