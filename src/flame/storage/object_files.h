// Where objects lie below the root, and finding the files that other programs left there.
// Names only: no file is opened.
//
//   <app>/<session>/<object>.arrow      an object
//   <app>/<session>/<object>.deltas/    its patches, as the existing server writes them
//   <session>/<object>.arrow            an object of the application `default`, of old
//   local-mode clients .flame/                             ours
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

#include "flame/object/key.h"
#include "flame/storage/file_system.h"

namespace flame {

inline constexpr char kOurDirectory[] = ".flame";
inline constexpr char kTemporaryDirectory[] = ".flame/tmp";
inline constexpr char kBlobDirectory[] = ".flame/blobs";
inline constexpr char kQuarantineDirectory[] = ".flame/quarantine";

/// Where a payload of `key` is to lie: `<app>/<session>/<object>.arrow`, or a blob for
/// keys that make no path.
std::string PathOf(const Key& key, uint64_t file_id);
std::string TemporaryPath(uint64_t file_id);
std::string BlobPath(uint64_t file_id);
/// Where another program may have put `key`, the likeliest first. Empty for plain keys.
std::vector<std::string> ForeignPathsOf(const Key& key);
/// `a/s/o.arrow` -> `a/s/o.deltas`.
std::string DeltasOf(std::string_view path);

/// Called for each object file.
using ObjectFileVisitor =
    std::function<arrow::Status(const Key& key, const std::string& path)>;
/// Visit the object files whose keys start with `prefix`; directories that can't hold any
/// are not listed. Returns how many names no key can have (not UTF-8, `..`): they are
/// left alone.
arrow::Result<int64_t> WalkObjectFiles(FileSystem* files, std::string_view prefix,
                                       const ObjectFileVisitor& visit);

}  // namespace flame
