// FsStaged: what FsStore's Stage calls return. Internal to storage/.
#pragma once

#include <memory>
#include <string>

#include <arrow/result.h>

#include "flame/storage/file_compression.h"
#include "flame/storage/file_system.h"
#include "flame/storage/store.h"

namespace flame {

/// A payload in hand, in a temporary file, or in another program's file. Confined to one
/// thread at a time.
class FsStaged final : public StagedPayload {
 public:
  /// Small: goes into RocksDB.
  static std::shared_ptr<FsStaged> Inline(std::shared_ptr<const Payload> payload);
  /// Written to the temporary file `file_id`, which becomes `path` after the commit.
  static arrow::Result<std::shared_ptr<FsStaged>> Write(
      std::shared_ptr<FileSystem> files, std::string path, uint64_t file_id,
      std::shared_ptr<const Payload> payload, Version version,
      const FileCompression& compression);
  /// Stays at `path`, where another program put it.
  static std::shared_ptr<FsStaged> Adopted(std::string path,
                                           std::shared_ptr<const Payload> payload);
  /// Removes the temporary file, unless Keep() was called.
  ~FsStaged() override;

  bool has_temporary_file() const { return files_ != nullptr; }
  bool is_adopted() const { return location_.foreign; }
  /// The temporary file's bytes are on the device. Once is enough.
  arrow::Status Sync();
  /// The log names the file, or may do so: it is no longer ours to remove.
  void Keep() { keep_ = true; }

 private:
  explicit FsStaged(std::shared_ptr<const Payload> payload);

  std::shared_ptr<FileSystem> files_;  // Null = no temporary file.
  bool synced_ = false;
  bool keep_ = false;
};

}  // namespace flame
