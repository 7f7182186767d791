// StorageUrl: what `storage:` says, understood and made absolute.
#pragma once

#include <string>
#include <string_view>

#include <arrow/result.h>

namespace flame {

struct StorageUrl {
  enum class Kind { kNone, kFs };
  Kind kind = Kind::kNone;
  std::string path;  // Absolute; empty for kNone.

  bool operator==(const StorageUrl&) const = default;
};

/// `none` or nothing; `fs://` or `file://` and a path, a relative one below `home`; or a
/// plain path, a relative one below `working_directory`. kInvalid for other schemes.
arrow::Result<StorageUrl> ParseStorageUrl(std::string_view text, std::string_view home,
                                          std::string_view working_directory);
/// "none" or "fs:///absolute/path".
std::string FormatStorageUrl(const StorageUrl& storage);

}  // namespace flame
