#include "flame/base/unix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {
namespace {

arrow::Status InUse(const std::string& path) {
  return InvalidError(fmt::format(
      "cannot listen on {}: another server listens there; stop it or choose another path",
      path));
}

arrow::Status MakeFolder(const std::filesystem::path& folder) {
  std::error_code error;
  if (std::filesystem::is_directory(folder, error)) return arrow::Status::OK();
  std::filesystem::create_directories(folder.parent_path(), error);
  if (error) return ErrnoError(error.value(), "create", folder.parent_path().string());
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    return ErrnoError(errno, "create", folder.string());
  return arrow::Status::OK();
}

/// Whether somebody accepts connections, or may: 0, or the errno that says no.
int TryConnect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket < 0) return errno;
  const int failed =
      connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0
          ? 0
          : errno;
  close(socket);
  return failed;
}

}  // namespace

arrow::Result<std::unique_ptr<UnixSocket>> UnixSocket::Claim(const std::string& path) {
  std::unique_ptr<UnixSocket> socket(new UnixSocket(path));
  ARROW_RETURN_NOT_OK(MakeFolder(std::filesystem::path(path).parent_path()));
  ARROW_RETURN_NOT_OK(socket->Lock());
  ARROW_RETURN_NOT_OK(socket->RemoveStale());
  return socket;
}

UnixSocket::~UnixSocket() {
  if (lock_ < 0) return;
  struct stat found {};
  if (lstat(path_.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) {
    // A path that was found in another's use has been left to it.
    if (TryConnect(path_) == ECONNREFUSED) unlink(path_.c_str());
  }
  unlink(LockPath().c_str());  // Before it is unlocked, see Lock().
  close(lock_);
}

arrow::Status UnixSocket::Lock() {
  const std::string path = LockPath();
  while (true) {
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) return ErrnoError(errno, "open", path);
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
      const int failed = errno;
      close(file);
      return failed == EWOULDBLOCK ? InUse(path_) : ErrnoError(failed, "lock", path);
    }
    // The holder before us may have removed the file between our open and our lock.
    struct stat locked {
    }, named{};
    if (fstat(file, &locked) == 0 && lstat(path.c_str(), &named) == 0 &&
        locked.st_ino == named.st_ino && locked.st_dev == named.st_dev) {
      lock_ = file;
      return arrow::Status::OK();
    }
    close(file);
  }
}

arrow::Status UnixSocket::RemoveStale() const {
  struct stat found {};
  if (lstat(path_.c_str(), &found) != 0) {
    return errno == ENOENT ? arrow::Status::OK() : ErrnoError(errno, "look at", path_);
  }
  if (!S_ISSOCK(found.st_mode)) {
    return InvalidError(fmt::format(
        "cannot listen on {}: something is there that is no socket; remove it or choose "
        "another path",
        path_));
  }
  const int failed = TryConnect(path_);
  if (failed == 0 || failed == EAGAIN) return InUse(path_);
  if (failed != ECONNREFUSED) return ErrnoError(failed, "connect to", path_);
  if (unlink(path_.c_str()) != 0) return ErrnoError(errno, "remove", path_);
  return arrow::Status::OK();
}

}  // namespace flame
