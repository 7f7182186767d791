#include "flame/session/work_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using arrow::Status;

/// Makes the folder and those above it. One in a place where everybody may write (/tmp)
/// may have been made by somebody else, to read what is put there.
Status MakePrivate(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::path parent = path.parent_path();
  if (!std::filesystem::is_directory(parent, error) && parent != path)
    ARROW_RETURN_NOT_OK(MakePrivate(parent));
  if (mkdir(path.c_str(), 0700) == 0) return Status::OK();
  if (errno != EEXIST) return ErrnoError(errno, "create", path.string());
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return ErrnoError(errno, "look at", path.string());
  if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid()) {
    return InvalidError(fmt::format(
        "{} is not a folder of this user; choose another one with --work-dir or "
        "--socket-dir",
        path.string()));
  }
  return Status::OK();
}

}  // namespace

arrow::Result<std::unique_ptr<WorkFolder>> WorkFolder::Claim(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  struct stat info {};
  // /tmp/flame-UID is somebody's choice of name, too.
  if (lstat(parent.c_str(), &info) == 0 &&
      parent.filename().string().starts_with("flame-"))
    ARROW_RETURN_NOT_OK(MakePrivate(parent));
  ARROW_RETURN_NOT_OK(MakePrivate(path));
  const std::string file = path + "/.lock";
  const int lock = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock < 0) return ErrnoError(errno, "open", file);
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    close(lock);
    return InvalidError(
        fmt::format("another session manager uses {}; stop it, or choose another folder "
                    "with --work-dir or --socket-dir",
                    path));
  }
  return std::unique_ptr<WorkFolder>(new WorkFolder(path, lock));
}

WorkFolder::~WorkFolder() {
  unlink((path_ + "/.lock").c_str());
  close(lock_);
  rmdir(path_.c_str());
}

}  // namespace flame
