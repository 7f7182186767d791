// One payload in one Arrow IPC file: what large objects are on disk, readable by pyarrow
// and by the existing server.
//
// Opaque: schema `version: uint64 not null, data: binary not null` (large_binary over 2
// GiB), one batch of one row. Native: the object's schema with `flame.cache.format` and
// `flame.cache.version`, and its messages as they are. The file format can't hold a
// dictionary that is replaced on the way; such a table becomes an IPC stream in the same
// place, which is told apart by its lack of the magic `ARROW1`.
//
// Functions without state; thread-safe.
#pragma once

#include <memory>

#include <arrow/buffer.h>
#include <arrow/result.h>

#include "flame/object/payload.h"
#include "flame/object/snapshot.h"
#include "flame/storage/file_compression.h"
#include "flame/storage/file_system.h"

namespace flame {

/// Write `payload`; unless it is compressed, its chunks are neither copied nor
/// concatenated. `version` is for other readers of the file; ours keep it elsewhere.
arrow::Status WriteArrowFile(const Payload& payload, Version version, WritableFile* file,
                             const FileCompression& compression = {});

/// Read what WriteArrowFile wrote; the payload shares `bytes`, if they are not
/// compressed. Bounds are checked, but not what native buffers hold: the caller compares
/// the checksum. Compressed buffers that claim to hold more than `stored_bytes`, the size
/// of the payload's stored form, are refused; 0 = it is not known.
arrow::Result<std::shared_ptr<const Payload>> ReadArrowFile(
    Kind kind, const std::shared_ptr<arrow::Buffer>& bytes, int64_t stored_bytes = 0);

struct ForeignFile {
  std::shared_ptr<const Payload> payload;
  Version version = 0;  // 0 = a local-mode client wrote it, or it says nothing sensible.
};
/// Read what any program may have written, compressed or not: every buffer, offset and
/// string is validated. The payload is what an equal put would have made of it. kCorrupt,
/// saying what is wrong.
arrow::Result<ForeignFile> ReadForeignFile(const std::shared_ptr<arrow::Buffer>& bytes);

}  // namespace flame
