#include "flame/session/instance_logs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/session/refusal.h"

namespace flame {
namespace {

namespace fs = std::filesystem;

/// What is kept of one file: its end.
constexpr int64_t kKeepOfAFile = 1 << 20;
constexpr size_t kCopyBytes = 64 << 10;

int64_t SizeOf(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

/// The last `limit` bytes of a file; how many they were, -1 if they could not be copied.
int64_t CopyTail(const std::string& from, const std::string& to, int64_t limit) {
  const int source = open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (source < 0) return -1;
  const int target = open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  int64_t copied = target < 0 ? -1 : 0;
  off_t offset = std::max<int64_t>(0, SizeOf(from) - limit);
  std::vector<char> buffer(kCopyBytes);
  while (copied >= 0) {
    const ssize_t size = pread(source, buffer.data(), buffer.size(), offset);
    if (size <= 0) break;
    if (write(target, buffer.data(), static_cast<size_t>(size)) != size) copied = -1;
    if (copied < 0) break;
    copied += size;
    offset += size;
  }
  close(source);
  if (target >= 0) close(target);
  return copied;
}

}  // namespace

InstanceLogs::InstanceLogs(InstanceLogOptions options) : options_(std::move(options)) {
  std::error_code ignored;
  fs::remove_all(options_.directory, ignored);
}

InstanceLogs::~InstanceLogs() {
  std::error_code ignored;
  fs::remove_all(options_.directory, ignored);
}

void InstanceLogs::Started(const std::string& instance, const std::string& session,
                           const std::string& application, const std::string& out_file,
                           const std::string& err_file, int64_t now_ms) {
  MutexLock lock(mutex_);
  Instance& added = instances_.emplace_back();
  added.id = instance;
  added.session = session;
  added.application = application;
  added.start_ms = now_ms;
  added.files[0].path = out_file;
  added.files[1].path = err_file;
}

void InstanceLogs::Cut(const std::string& instance, bool is_error) {
  MutexLock lock(mutex_);
  for (Instance& known : instances_) {
    if (known.id == instance) known.files[is_error ? 1 : 0].cut = true;
  }
}

void InstanceLogs::Ended(const std::string& instance, int64_t now_ms) {
  MutexLock lock(mutex_);
  const auto at =
      std::find_if(instances_.begin(), instances_.end(),
                   [&](const Instance& known) { return known.id == instance; });
  if (at == instances_.end()) return;
  if (options_.keep <= 0) {
    instances_.erase(at);
    return;
  }
  // Nobody writes any more, so the copies are whole; without the lock, files are large.
  Instance ended = *at;
  lock.Unlock();
  std::error_code error;
  fs::create_directories(options_.directory, error);
  fs::permissions(options_.directory, fs::perms::owner_all, error);
  const int64_t limit = std::min(kKeepOfAFile, options_.keep_bytes / 2);
  for (File& file : ended.files) {
    const std::string kept =
        fmt::format("{}/{}", options_.directory, fs::path(file.path).filename().string());
    const int64_t before = SizeOf(file.path);
    const int64_t size = CopyTail(file.path, kept, limit);
    if (size < 0) {
      FLAME_LOG_WARN(session, "keep {} as {}: {}", file.path, kept,
                     std::error_code(errno, std::generic_category()).message());
    }
    file.path = kept;
    file.size = std::max<int64_t>(0, size);
    file.cut = file.cut || file.size < before;
  }
  ended.end_ms = now_ms;
  lock.Lock();
  *at = std::move(ended);
  Prune();
}

void InstanceLogs::Prune() {
  std::unordered_map<std::string, int64_t> of_session;
  int64_t bytes = 0;
  for (auto at = instances_.end(); at != instances_.begin();) {
    --at;
    if (!at->end_ms) continue;
    bytes += at->files[0].size + at->files[1].size;
    if (++of_session[at->session] > options_.keep || bytes > options_.keep_bytes) {
      bytes -= at->files[0].size + at->files[1].size;
      const auto gone = at++;
      Remove(gone);
    }
  }
}

void InstanceLogs::Remove(std::list<Instance>::iterator at) {
  for (const File& file : at->files) unlink(file.path.c_str());
  instances_.erase(at);
}

std::vector<InstanceLog> InstanceLogs::List(const std::string& session,
                                            const std::string& instance,
                                            const std::string& application) const {
  std::vector<InstanceLog> logs;
  MutexLock lock(mutex_);
  for (const Instance& known : instances_) {
    if ((!session.empty() && known.session != session) ||
        (!instance.empty() && known.id != instance) ||
        (!application.empty() && known.application != application))
      continue;
    for (const bool is_error : {false, true}) {
      const File& file = known.files[is_error ? 1 : 0];
      logs.push_back({known.id, known.session, known.application, is_error,
                      known.end_ms ? file.size : SizeOf(file.path), known.start_ms,
                      known.end_ms, file.cut});
    }
  }
  return logs;
}

arrow::Result<int> InstanceLogs::Open(const std::string& instance, bool is_error) const {
  MutexLock lock(mutex_);
  for (const Instance& known : instances_) {
    if (known.id != instance) continue;
    const std::string& path = known.files[is_error ? 1 : 0].path;
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return ErrnoError(errno, "open", path);
    return fd;
  }
  return NotFoundRefusal(fmt::format("nothing is known of the instance {}", instance));
}

}  // namespace flame
