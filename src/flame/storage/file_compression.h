// Compression at rest: large objects' files in Arrow's own body compression, which every
// Arrow reader undoes. Internal to storage/.
//
// Functions without state; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <arrow/result.h>
#include <arrow/util/compression.h>

#include "flame/object/payload.h"

namespace flame {

struct FileCompression {
  arrow::Compression::type codec = arrow::Compression::UNCOMPRESSED;
  int64_t min_size = 64 << 10;  // Smaller payloads are written as they are.
  double min_gain = 0.1;        // So are those that do not shrink by this share.

  bool Wants(int64_t bytes) const {
    return codec != arrow::Compression::UNCOMPRESSED && bytes >= min_size && bytes > 0;
  }
  bool IsWorthIt(int64_t before, int64_t after) const {
    return static_cast<double>(after) <= static_cast<double>(before) * (1 - min_gain);
  }
};

/// A native payload's messages, compressed; nullopt when that is not wanted, gains too
/// little, or could not be undone to the very same bytes.
arrow::Result<std::optional<std::vector<Frame>>> CompressFrames(
    const Payload& native, const FileCompression& compression);

}  // namespace flame
