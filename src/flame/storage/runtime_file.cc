#include "flame/storage/runtime_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/storage/coding.h"

namespace flame {

struct RuntimeFile::Layout {
  char magic[8];
  uint32_t format;
  uint32_t slots;
  char store_id[48];  // Text, padded with NULs.
  std::atomic<int64_t> highest[kSlots];
};

namespace {

constexpr char kMagic[8] = {'F', 'L', 'M', 'R', 'U', 'N', '\r', '\n'};
constexpr uint32_t kFormat = 1;
constexpr char kDoing[] = "open the runtime file";

/// Closes the descriptor unless it was taken.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) close(value);
  }
  int Take() { return std::exchange(value, -1); }
};

}  // namespace

arrow::Status CheckRuntimeHeader(std::string_view header, std::string_view path) {
  Decoder decoder(header);
  const bool ours = header.starts_with({kMagic, sizeof(kMagic)});
  decoder.Fixed<uint64_t>();
  const auto format = decoder.Fixed<uint32_t>();
  const auto slots = decoder.Fixed<uint32_t>();
  if (!ours || !decoder.ok() || slots != kSlots) {
    return MakeError(
        ErrorCode::kCorrupt,
        fmt::format("{} {}: not a runtime file of this program", kDoing, path));
  }
  if (format != kFormat) {
    return MakeError(ErrorCode::kCorrupt,
                     fmt::format("{} {}: it has format {}, this program knows {}", kDoing,
                                 path, format, kFormat));
  }
  return arrow::Status::OK();
}

arrow::Result<std::unique_ptr<RuntimeFile>> RuntimeFile::Open(const std::string& path,
                                                              std::string_view store_id) {
  static_assert(sizeof(Layout) == 64 + 8 * kSlots);
  static_assert(std::atomic<int64_t>::is_always_lock_free);
  Descriptor file{open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (file.value < 0) return ErrnoError(errno, kDoing, path);
  if (flock(file.value, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoError(errno, kDoing, path);
    return MakeError(
        ErrorCode::kIo,
        fmt::format("{} {}: another server uses it; give each its own", kDoing, path));
  }
  struct stat info {};
  if (fstat(file.value, &info) != 0) return ErrnoError(errno, kDoing, path);
  if (info.st_size != 0 && info.st_size != sizeof(Layout)) {
    return MakeError(
        ErrorCode::kCorrupt,
        fmt::format("{} {}: not a runtime file of this program", kDoing, path));
  }
  // Reserved, not only sized: writing to a hole on a full disk would be a SIGBUS.
  if (const int error = posix_fallocate(file.value, 0, sizeof(Layout)); error != 0) {
    return ErrnoError(error, kDoing, path);
  }
  void* mapping =
      mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, file.value, 0);
  if (mapping == MAP_FAILED) return ErrnoError(errno, kDoing, path);
  auto runtime = std::unique_ptr<RuntimeFile>(
      new RuntimeFile(file.Take(), static_cast<Layout*>(mapping)));

  Layout* layout = runtime->layout_;
  if (info.st_size == 0) {
    layout->format = kFormat;
    layout->slots = kSlots;
    std::memcpy(layout->magic, kMagic, sizeof(kMagic));
  }
  ARROW_RETURN_NOT_OK(CheckRuntimeHeader(
      {static_cast<const char*>(mapping), offsetof(Layout, highest)}, path));
  for (int slot = 0; slot < kSlots; ++slot) {
    const Version highest = layout->highest[slot].load(std::memory_order_relaxed);
    if (highest < 0 || highest > kMaxStoredVersion) {
      return MakeError(
          ErrorCode::kCorrupt,
          fmt::format("{} {}: damaged: slot {} says that version {} was given out; "
                      "remove the file to begin anew",
                      kDoing, path, slot, highest));
    }
  }
  std::memset(layout->store_id, 0, sizeof(layout->store_id));
  std::memcpy(layout->store_id, store_id.data(),
              std::min(store_id.size(), sizeof(layout->store_id)));
  return runtime;
}

RuntimeFile::~RuntimeFile() {
  munmap(layout_, sizeof(Layout));
  close(descriptor_);
}

Version RuntimeFile::Highest(uint16_t slot) const {
  return layout_->highest[slot].load(std::memory_order_relaxed);
}

void RuntimeFile::Raise(uint16_t slot, Version version) {
  auto& highest = layout_->highest[slot];
  Version seen = highest.load(std::memory_order_relaxed);
  while (seen < version &&
         !highest.compare_exchange_weak(seen, version, std::memory_order_relaxed)) {
  }
}

}  // namespace flame
