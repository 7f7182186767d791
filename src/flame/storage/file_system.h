// FileSystem: the few file operations that a store needs, all beneath one root directory,
// in a shape that tests can make fail. No path leads out of the root, whatever symbolic
// links lie in it: every open goes through openat2 with RESOLVE_BENEATH, or, where a
// container forbids that call, component by component without following links.
//
// Paths are relative to the root, `/` between parts; "" is the root itself. What may well
// not be there (a file to unlink, a directory that is not empty) is a value, not an
// error; errors carry our codes (see ErrnoError).
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/result.h>

namespace flame {

enum class FileType { kFile, kDirectory, kOther };

struct FileInfo {
  FileType type = FileType::kOther;
  int64_t size = 0;
  int64_t modified_ms = 0;
  // Which file this is: a copy differs in at least one of them.
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t born_ns = 0;  // 0 = the file system does not say.
};

/// A file being written. Confined to one thread at a time. Destroying it closes it.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  /// Append all `pieces`, in order.
  virtual arrow::Status Write(const std::vector<std::string_view>& pieces) = 0;
  /// What the file system put off failing comes up here.
  virtual arrow::Status Close() = 0;
};

/// Where Rename() keeps what it replaces while it is at it.
inline constexpr char kReplacedSuffix[] = ".old";

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  /// The root as a path of this machine: for RocksDB, which opens its own files, and for
  /// messages.
  virtual const std::string& root() const = 0;

  /// A new file. An error if there is one.
  virtual arrow::Result<std::unique_ptr<WritableFile>> Create(
      const std::string& path) = 0;
  /// Replace what the file holds by one write in place, on the device when this returns.
  /// Creates the file. For small contents that must keep their inode; a crash can tear
  /// it, so the contents must be able to tell.
  virtual arrow::Status Overwrite(const std::string& path, std::string_view bytes) = 0;
  /// All of a regular file, in one buffer aligned to 64 bytes; null = no such file.
  virtual arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAll(
      const std::string& path) = 0;
  /// Of the name itself: links are not followed (kOther).
  virtual arrow::Result<std::optional<FileInfo>> Stat(const std::string& path) = 0;
  /// Call `visit` for every name in a directory but `.` and `..`, in no order, until it
  /// fails. False = no such directory.
  using Visitor = std::function<arrow::Status(const std::string& name, FileType type)>;
  virtual arrow::Result<bool> List(const std::string& path, const Visitor& visit) = 0;

  /// Replaces `to`, in one step for everybody who looks. False = `from`, or the directory
  /// of `to`, is not there. What was begun before the process died or an error came is
  /// finished by the same call again, provided that `from` + kReplacedSuffix was left
  /// alone.
  virtual arrow::Result<bool> Rename(const std::string& from, const std::string& to) = 0;
  /// False = it is not there.
  virtual arrow::Result<bool> Unlink(const std::string& path) = 0;
  /// This directory and those above it; some or all may be there.
  virtual arrow::Status MakeDirectories(const std::string& path) = 0;
  /// False = not there, or not empty.
  virtual arrow::Result<bool> RemoveDirectory(const std::string& path) = 0;
  /// What the file holds, or the names in the directory, are on the device when this
  /// returns. One that is gone is fine.
  virtual arrow::Status Sync(const std::string& path) = 0;

  /// Lock the file, creating it, against other processes and other FileSystems of this
  /// one, until the handle goes. Null = somebody else has it.
  using Lock = std::shared_ptr<void>;
  virtual arrow::Result<Lock> TryLock(const std::string& path) = 0;
};

struct FileSystemOptions {
  /// Off = behave as on a kernel that lacks the call. For tests.
  bool use_openat2 = true;
};

/// The machine's file system below `root`, which is created if it is missing. One clear
/// line when it can't be used: not creatable, not a directory, not writable, read-only.
arrow::Result<std::unique_ptr<FileSystem>> OpenFileSystem(
    const std::string& root, const FileSystemOptions& options = {});

/// The path without its last part; "" for a path of one part.
std::string ParentOf(std::string_view path);

}  // namespace flame
