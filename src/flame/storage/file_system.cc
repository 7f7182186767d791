#include "flame/storage/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;

// Less the umask, as every program that shares the directory does it.
constexpr mode_t kFileMode = 0666;
constexpr mode_t kDirectoryMode = 0777;

/// A file descriptor, closed at the end of its life. -1 = none; errno says why.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor() {
    if (value_ < 0) return;
    const int error = errno;
    close(value_);
    errno = error;
  }
  int get() const { return value_; }
  bool ok() const { return value_ >= 0; }
  int Close() { return close(std::exchange(value_, -1)); }
  int Release() { return std::exchange(value_, -1); }

 private:
  int value_;
};

struct Name {
  int directory;
  const char* text;
};

/// The same file, by either name.
bool AreOne(const Name& one, const Name& other) {
  struct stat a, b;
  return fstatat(one.directory, one.text, &a, AT_SYMLINK_NOFOLLOW) == 0 &&
         fstatat(other.directory, other.text, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
         a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// Like renameat(). That makes ext4 write the whole file out first when it replaces
/// another one (its option auto_da_alloc; a millisecond per MiB here), which no promise
/// of ours asks for: with `sync: always` it has been written before. So the two files
/// change places, and then the old one goes. A second name for the old one, made before,
/// tells a later call whether the exchange has been.
int Replace(const Name& from, const Name& to) {
  const std::string old_text = std::string(from.text) + kReplacedSuffix;
  const Name old{from.directory, old_text.c_str()};
  auto plain = [&] { return renameat(from.directory, from.text, to.directory, to.text); };
  auto finish = [&] {
    // In this order: the second name goes last.
    if (unlinkat(from.directory, from.text, 0) != 0 && errno != ENOENT) return -1;
    return unlinkat(old.directory, old.text, 0);
  };
  bool linked = linkat(to.directory, to.text, old.directory, old.text, 0) == 0;
  if (!linked && errno == EEXIST) {
    if (AreOne(from, old)) return finish();
    if (unlinkat(old.directory, old.text, 0) != 0) return -1;
    linked = linkat(to.directory, to.text, old.directory, old.text, 0) == 0;
  }
  // Nothing to replace, or a file system that has no such names.
  if (!linked) return plain();
  if (renameat2(from.directory, from.text, to.directory, to.text, RENAME_EXCHANGE) == 0)
    return finish();
  const int error = errno;
  if (unlinkat(old.directory, old.text, 0) != 0) return -1;
  if (error == EINVAL || error == ENOSYS || error == ENOTSUP) return plain();
  errno = error;
  return -1;
}

/// Not there; or behind a link that leads out of the root; or of a name that no file can
/// have.
bool IsMissing(int error) {
  return error == ENOENT || error == ENOTDIR || error == EXDEV || error == ELOOP ||
         error == ENAMETOOLONG;
}

int RetryOpenAt(int directory, const char* name, int flags, mode_t mode) {
  int result;
  do {
    result = openat(directory, name, flags, mode);
  } while (result < 0 && errno == EINTR);
  return result;
}

Descriptor OpenBeneath(int root, const char* path, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags);
  how.mode = (flags & O_CREAT) ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  long result;
  do {  // EAGAIN: a rename beside the path made the kernel give up its proof.
    result = syscall(SYS_openat2, root, path, &how, sizeof(how));
  } while (result < 0 && (errno == EINTR || errno == EAGAIN));
  return Descriptor(static_cast<int>(result));
}

Status WriteFully(int descriptor, std::vector<iovec> pieces, const std::string& path) {
  size_t first = 0;
  while (first < pieces.size()) {
    const auto count = std::min<size_t>(pieces.size() - first, IOV_MAX);
    const ssize_t written =
        writev(descriptor, pieces.data() + first, static_cast<int>(count));
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(errno, "write", path);
    }
    auto left = static_cast<size_t>(written);
    while (first < pieces.size() && left >= pieces[first].iov_len) {
      left -= pieces[first++].iov_len;
    }
    if (left == 0) continue;
    pieces[first].iov_base = static_cast<char*>(pieces[first].iov_base) + left;
    pieces[first].iov_len -= left;
  }
  return Status::OK();
}

class RealWritableFile final : public WritableFile {
 public:
  RealWritableFile(Descriptor file, std::string path)
      : file_(std::move(file)), path_(std::move(path)) {}

  Status Write(const std::vector<std::string_view>& pieces) override {
    std::vector<iovec> vector;
    vector.reserve(pieces.size());
    for (std::string_view piece : pieces) {
      if (piece.empty()) continue;
      vector.push_back({const_cast<char*>(piece.data()), piece.size()});
    }
    return WriteFully(file_.get(), std::move(vector), path_);
  }
  Status Close() override {
    if (file_.Close() != 0) return ErrnoError(errno, "close", path_);
    return Status::OK();
  }

 private:
  Descriptor file_;
  const std::string path_;
};

class RealFileSystem final : public FileSystem {
 public:
  RealFileSystem(std::string root, Descriptor directory, bool use_openat2)
      : root_(std::move(root)),
        directory_(std::move(directory)),
        use_openat2_(use_openat2) {}

  const std::string& root() const override { return root_; }

  Result<std::unique_ptr<WritableFile>> Create(const std::string& path) override {
    Descriptor file = Open(path, O_WRONLY | O_CREAT | O_EXCL, kFileMode);
    if (!file.ok()) return ErrnoError(errno, "create", path);
    return std::make_unique<RealWritableFile>(std::move(file), path);
  }

  Status Overwrite(const std::string& path, std::string_view bytes) override {
    Descriptor file = Open(path, O_WRONLY | O_CREAT, kFileMode);
    if (!file.ok()) return ErrnoError(errno, "open", path);
    const ssize_t written = pwrite(file.get(), bytes.data(), bytes.size(), 0);
    if (written < 0) return ErrnoError(errno, "write", path);
    if (static_cast<size_t>(written) != bytes.size())
      return ErrnoError(ENOSPC, "write", path);
    if (ftruncate(file.get(), written) != 0) return ErrnoError(errno, "truncate", path);
    if (fsync(file.get()) != 0) return ErrnoError(errno, "sync", path);
    return Status::OK();
  }

  Result<std::shared_ptr<arrow::Buffer>> ReadAll(const std::string& path) override {
    // Without blocking: a FIFO of that name must not hold the reader.
    Descriptor file = Open(path, O_RDONLY | O_NONBLOCK);
    if (!file.ok()) {
      if (IsMissing(errno)) return nullptr;
      return ErrnoError(errno, "open", path);
    }
    struct stat info {};
    if (fstat(file.get(), &info) != 0) return ErrnoError(errno, "stat", path);
    if (!S_ISREG(info.st_mode)) {
      return MakeError(ErrorCode::kIo, fmt::format("open {}: not a regular file", path));
    }
    ARROW_ASSIGN_OR_RAISE(auto buffer, arrow::AllocateResizableBuffer(info.st_size));
    int64_t size = 0;
    while (size < info.st_size) {
      const ssize_t got = pread(file.get(), buffer->mutable_data() + size,
                                static_cast<size_t>(info.st_size - size), size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return ErrnoError(errno, "read", path);
      if (got == 0) break;  // Cut short meanwhile; whoever decodes it will notice.
      size += got;
    }
    ARROW_RETURN_NOT_OK(buffer->Resize(size, /*shrink_to_fit=*/false));
    return std::shared_ptr<arrow::Buffer>(std::move(buffer));
  }

  Result<std::optional<FileInfo>> Stat(const std::string& path) override {
    Descriptor parent = OpenParent(path);
    struct statx info {};
    if (!parent.ok() || statx(parent.get(), NameOf(path),
                              AT_SYMLINK_NOFOLLOW | (path.empty() ? AT_EMPTY_PATH : 0),
                              STATX_BASIC_STATS | STATX_BTIME, &info) != 0) {
      if (IsMissing(errno)) return std::nullopt;
      return ErrnoError(errno, "stat", path);
    }
    FileInfo result;
    result.type = S_ISREG(info.stx_mode)   ? FileType::kFile
                  : S_ISDIR(info.stx_mode) ? FileType::kDirectory
                                           : FileType::kOther;
    result.size = static_cast<int64_t>(info.stx_size);
    result.modified_ms =
        info.stx_mtime.tv_sec * 1000 + info.stx_mtime.tv_nsec / 1'000'000;
    result.device = uint64_t{info.stx_dev_major} << 32 | info.stx_dev_minor;
    result.inode = info.stx_ino;
    if (info.stx_mask & STATX_BTIME) {
      result.born_ns = info.stx_btime.tv_sec * 1'000'000'000 + info.stx_btime.tv_nsec;
    }
    return result;
  }

  Result<bool> List(const std::string& path, const Visitor& visit) override {
    Descriptor file = Open(path, O_RDONLY | O_DIRECTORY);
    if (!file.ok()) {
      if (IsMissing(errno)) return false;
      return ErrnoError(errno, "list", path);
    }
    DIR* stream = fdopendir(file.get());
    if (stream == nullptr) return ErrnoError(errno, "list", path);
    file.Release();
    const std::unique_ptr<DIR, int (*)(DIR*)> closer(stream, closedir);
    while (true) {
      errno = 0;
      const dirent* entry = readdir(stream);
      if (entry == nullptr) {
        if (errno != 0) return ErrnoError(errno, "list", path);
        return true;
      }
      const std::string name(entry->d_name);
      if (name == "." || name == "..") continue;
      FileType type = entry->d_type == DT_REG   ? FileType::kFile
                      : entry->d_type == DT_DIR ? FileType::kDirectory
                                                : FileType::kOther;
      if (entry->d_type == DT_UNKNOWN) {  // Some file systems do not tell.
        ARROW_ASSIGN_OR_RAISE(const auto info,
                              Stat(path.empty() ? name : path + "/" + name));
        if (info) type = info->type;
      }
      ARROW_RETURN_NOT_OK(visit(name, type));
    }
  }

  Result<bool> Rename(const std::string& from, const std::string& to) override {
    Descriptor from_parent = OpenParent(from);
    Descriptor to_parent = from_parent.ok() ? OpenParent(to) : Descriptor(-1);
    if (!from_parent.ok() || !to_parent.ok() ||
        Replace({from_parent.get(), NameOf(from)}, {to_parent.get(), NameOf(to)}) != 0) {
      if (errno == ENOENT) return false;
      return ErrnoError(errno, "rename to", to);
    }
    return true;
  }

  Result<bool> Unlink(const std::string& path) override {
    Descriptor parent = OpenParent(path);
    if (!parent.ok() || unlinkat(parent.get(), NameOf(path), 0) != 0) {
      if (IsMissing(errno)) return false;
      return ErrnoError(errno, "remove", path);
    }
    return true;
  }

  Status MakeDirectories(const std::string& path) override {
    if (path.empty()) return Status::OK();
    for (bool with_parents = false;; with_parents = true) {
      Descriptor parent = OpenParent(path);
      if (parent.ok()) {
        if (mkdirat(parent.get(), NameOf(path), kDirectoryMode) == 0) return Status::OK();
        if (errno == EEXIST) {
          // A file of that name is as bad as no directory.
          if (Open(path, O_RDONLY | O_DIRECTORY).ok()) return Status::OK();
        }
      }
      if (errno != ENOENT || with_parents)
        return ErrnoError(errno, "create directory", path);
      ARROW_RETURN_NOT_OK(MakeDirectories(ParentOf(path)));
    }
  }

  Result<bool> RemoveDirectory(const std::string& path) override {
    Descriptor parent = OpenParent(path);
    if (!parent.ok() || unlinkat(parent.get(), NameOf(path), AT_REMOVEDIR) != 0) {
      if (IsMissing(errno) || errno == ENOTEMPTY || errno == EEXIST) return false;
      return ErrnoError(errno, "remove directory", path);
    }
    return true;
  }

  Status Sync(const std::string& path) override {
    Descriptor file = Open(path, O_RDONLY | O_NONBLOCK);
    if (!file.ok() && IsMissing(errno)) return Status::OK();
    if (!file.ok() || fsync(file.get()) != 0) return ErrnoError(errno, "sync", path);
    return Status::OK();
  }

  Result<Lock> TryLock(const std::string& path) override {
    Descriptor file = Open(path, O_RDWR | O_CREAT, kFileMode);
    if (!file.ok()) return ErrnoError(errno, "create", path);
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return nullptr;
      return ErrnoError(errno, "lock", path);
    }
    return std::make_shared<Descriptor>(std::move(file));
  }

 private:
  static const char* NameOf(const std::string& path) {
    const size_t slash = path.rfind('/');
    return path.c_str() + (slash == path.npos ? 0 : slash + 1);
  }

  /// Parts that lead elsewhere are refused here too, so that a mistake above is an error
  /// and not another file.
  static bool IsPlain(std::string_view path) {
    while (!path.empty()) {
      const size_t slash = path.find('/');
      const std::string_view part = path.substr(0, slash);
      if (part.empty() || part == "." || part == "..") return false;
      if (slash == path.npos) return true;
      path.remove_prefix(slash + 1);
      if (path.empty()) return false;
    }
    return true;
  }

  Descriptor OpenParent(const std::string& path) const {
    if (!IsPlain(path)) {
      errno = EINVAL;
      return Descriptor(-1);
    }
    return Open(ParentOf(path), O_PATH | O_DIRECTORY);
  }

  Descriptor Open(const std::string& path, int flags, mode_t mode = 0) const {
    flags |= O_CLOEXEC;
    if (!IsPlain(path) || path.find('\0') != path.npos) {
      errno = EINVAL;
      return Descriptor(-1);
    }
    if (!use_openat2_) return Walk(path, flags, mode);
    return OpenBeneath(directory_.get(), path.empty() ? "." : path.c_str(), flags, mode);
  }

  /// The same without openat2: part by part, following no link at all.
  Descriptor Walk(std::string_view path, int flags, mode_t mode) const {
    Descriptor parent(
        RetryOpenAt(directory_.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
    while (parent.ok()) {
      const size_t slash = path.find('/');
      const std::string part(path.substr(0, slash));
      if (slash == path.npos) {
        return Descriptor(RetryOpenAt(parent.get(), part.empty() ? "." : part.c_str(),
                                      flags | O_NOFOLLOW, mode));
      }
      path.remove_prefix(slash + 1);
      parent = Descriptor(RetryOpenAt(parent.get(), part.c_str(),
                                      O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0));
    }
    return parent;
  }

  const std::string root_;
  const Descriptor directory_;
  const bool use_openat2_;
};

}  // namespace

Result<std::unique_ptr<FileSystem>> OpenFileSystem(const std::string& root,
                                                   const FileSystemOptions& options) {
  // Absolute, because RocksDB opens files by name long after somebody may have changed
  // the working directory.
  std::error_code error;
  const std::string path = std::filesystem::absolute(root, error).lexically_normal();
  if (!error) std::filesystem::create_directories(path, error);
  if (error) return ErrnoError(error.value(), "create the storage directory", root);
  Descriptor directory(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.ok()) return ErrnoError(errno, "open the storage directory", path);

  // Seccomp profiles of containers answer ENOSYS or EPERM.
  const bool use_openat2 = options.use_openat2 &&
                           OpenBeneath(directory.get(), ".", O_PATH | O_CLOEXEC, 0).ok();
  return std::make_unique<RealFileSystem>(path, std::move(directory), use_openat2);
}

std::string ParentOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(path.substr(0, slash == path.npos ? 0 : slash));
}

}  // namespace flame
