// Replies: snapshots as Flight streams. Payload buffers go into the messages as they are;
// only rows under 64 KiB are copied, so that many small deltas share one batch.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <arrow/flight/server.h>
#include <arrow/util/compression.h>

#include "flame/object/snapshot.h"

namespace flame {

/// What the caller of a get has in hand and can take.
struct ReplyOptions {
  Version known = 0;      // In the caller's hand; 0 = nothing.
  bool document = false;  // The document dialect: incremental native replies, large bases
                          // in several rows.
  std::optional<arrow::Compression::type> compression;  // Of IPC bodies.
};

/// The schema of opaque replies: version uint64, kind utf8, data binary, none nullable.
const std::shared_ptr<arrow::Schema>& OpaqueReplySchema();

/// True if patches newer than `known` are all that its holder lacks.
bool IsIncremental(const Snapshot& snapshot, const ReplyOptions& options);

/// Payload bytes that the reply will hold.
int64_t ReplyBytes(const Snapshot& snapshot, const ReplyOptions& options);

/// kTooLarge if the stock dialect can't carry the object.
arrow::Result<std::unique_ptr<arrow::flight::FlightDataStream>> MakeReply(
    std::shared_ptr<const Snapshot> snapshot, const ReplyOptions& options);
/// A schema and nothing else.
std::unique_ptr<arrow::flight::FlightDataStream> MakeNotModifiedReply(
    Version version, Kind kind, const ReplyOptions& options);

}  // namespace flame
