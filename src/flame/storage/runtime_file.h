// RuntimeFile: the highest version that was ever given out per slot, in a small
// memory-mapped file. With `storage: none` it is all that outlives the server: writes to
// the mapping lie in the page cache, which survives kill -9, and on a tmpfs they cost no
// disk. Layout: docs/internals/records.md.
//
// Thread-safe. One process at a time: the file is locked while it is open.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <arrow/result.h>

#include "flame/object/key.h"
#include "flame/object/snapshot.h"

namespace flame {

/// kCorrupt, naming `path`, unless `header` (64 bytes) is that of a file which this
/// program reads.
arrow::Status CheckRuntimeHeader(std::string_view header, std::string_view path);

class RuntimeFile {
 public:
  /// Open or create. A file of another program or of a newer format is refused, never
  /// overwritten; `store_id` (36 characters) is written into it for people.
  static arrow::Result<std::unique_ptr<RuntimeFile>> Open(const std::string& path,
                                                          std::string_view store_id);
  ~RuntimeFile();

  /// The highest version that was given out in `slot`; 0 = none.
  Version Highest(uint16_t slot) const;
  /// `version` has been given out in `slot`.
  void Raise(uint16_t slot, Version version);

 private:
  struct Layout;
  RuntimeFile(int descriptor, Layout* layout)
      : descriptor_(descriptor), layout_(layout) {}

  const int descriptor_;  // Holds the lock.
  Layout* const layout_;  // The mapping.
};

}  // namespace flame
