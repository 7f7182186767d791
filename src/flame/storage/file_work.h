// FileWork: what is left to do on files when a commit is in the log: put temporary files
// in their places and remove what the commit replaced. It is written with the commit and
// done afterwards, so that after a crash it is done again; every step may be repeated.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arrow/result.h>

#include "flame/storage/file_system.h"

namespace flame {

struct FileWork {
  std::vector<std::pair<uint64_t, std::string>> renames;  // Temporary file -> path.
  /// Paths of files; one that ends in `/` is a directory with the files directly in it.
  std::vector<std::string> removals;

  bool empty() const { return renames.empty() && removals.empty(); }
};

/// Format: docs/internals/records.md.
std::string EncodeFileWork(const FileWork& work);
arrow::Result<FileWork> DecodeFileWork(std::string_view bytes);

/// Do it. Directories that removals leave empty go too, up to the root. `touched` gets
/// the directories whose names have changed. On an error some of it is done, and all of
/// it may be tried again.
arrow::Status DoFileWork(FileSystem* files, const FileWork& work,
                         std::set<std::string>* touched);

}  // namespace flame
