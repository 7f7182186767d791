// UnixSocket: the right to listen on a path. The socket of a dead server is replaced,
// that of a living one is not; only the user of this process can connect; nothing is left
// behind.
//
// gRPC, which binds the socket, removes whatever it finds at the path without asking. So
// the path is claimed first: a lock on a file beside it makes "is somebody there?" and
// "take its place" one step.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <string>

#include <arrow/result.h>

namespace flame {

/// Destroy it after whoever listens on the socket, in the same process.
class UnixSocket {
 public:
  /// Fails with one clear line when another server listens at `path`, or something else
  /// than a socket is there. A missing folder is created for this user alone.
  static arrow::Result<std::unique_ptr<UnixSocket>> Claim(const std::string& path);
  /// Removes the socket and the lock.
  ~UnixSocket();
  UnixSocket(const UnixSocket&) = delete;
  UnixSocket& operator=(const UnixSocket&) = delete;

 private:
  explicit UnixSocket(std::string path) : path_(std::move(path)) {}
  arrow::Status Lock();
  arrow::Status RemoveStale() const;
  std::string LockPath() const { return path_ + ".lock"; }

  const std::string path_;
  int lock_ = -1;
};

/// While it lives, files and sockets that this process makes are for its user alone. Of
/// the whole process: keep it short.
class PrivateUmask {
 public:
  PrivateUmask() : before_(umask(0177)) {}
  ~PrivateUmask() { umask(before_); }
  PrivateUmask(const PrivateUmask&) = delete;
  PrivateUmask& operator=(const PrivateUmask&) = delete;

 private:
  const mode_t before_;
};

}  // namespace flame
