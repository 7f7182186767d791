// What a write is given and whether it may: versions, conditions, retries.
#include "flame/cache/cache_internal.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

namespace flame {

using arrow::Result;
using arrow::Status;

namespace {

/// What the history of a key says about an attempt to write it.
enum class OpVerdict { kNew, kApplied, kUndecidable };

OpVerdict Judge(const OpHistory& history, const OpId& op, bool retry, Version* version) {
  for (const auto& entry : history.entries) {
    if (entry.op.origin != op.origin) continue;
    if (entry.op.counter == op.counter) {
      *version = entry.version;
      return OpVerdict::kApplied;
    }
    return entry.op.counter < op.counter ? OpVerdict::kNew : OpVerdict::kUndecidable;
  }
  return retry && history.overflowed ? OpVerdict::kUndecidable : OpVerdict::kNew;
}

void Remember(OpHistory* history, const OpId& op, Version version) {
  std::erase_if(history->entries, [&](const OpHistory::Entry& entry) {
    return entry.op.origin == op.origin;
  });
  history->entries.insert(history->entries.begin(), {op, version});
  if (history->entries.size() > OpHistory::kOrigins) {
    history->entries.pop_back();
    history->overflowed = true;
  }
}

Status CheckAppend(const Key& key, const Row& row, const Payload& patch) {
  if (row.kind != patch.kind()) {
    return MakeError(
        ErrorCode::kWrongKind,
        row.kind == Kind::kNative
            ? fmt::format(
                  "{} is an Arrow table: append batches of its schema, or write it anew",
                  key.text())
            : fmt::format(
                  "{} is an opaque object: patch it with opaque data, or write it anew",
                  key.text()));
  }
  if (row.kind == Kind::kNative) {
    ARROW_ASSIGN_OR_RAISE(const auto schema, DecodeSchema(row.schema));
    if (!schema->Equals(*patch.schema(), /*check_metadata=*/false)) {
      return MakeError(
          ErrorCode::kWrongKind,
          fmt::format(
              "{}: the batches' schema differs from the table's; the table has {}",
              key.text(), schema->ToString()));
    }
  }
  return Status::OK();
}

}  // namespace

Version Cache::NextVersion(const std::optional<Row>& row, const SlotState& slot,
                           bool generated) const {
  // An id that was drawn at random here was never seen before, whatever the slot has
  // seen.
  if (generated && !row) return 1;
  Version next = row ? row->version + 1 : slot.floor + 1;
  if (slot.generation > 0) {
    next = std::max(next, static_cast<Version>(slot.generation << kGenerationShift));
  }
  return next;
}

Status Cache::CheckVersion(const Key& key, const std::optional<Row>& row,
                           std::optional<Version> expected) const {
  if (!expected) return Status::OK();
  const Version newest = IsLive(row) ? row->version : 0;
  return newest == *expected ? Status::OK()
                             : ConflictError(key.text(), *expected, newest);
}

int64_t Cache::ExpiryOf(int64_t ttl_ms) const {
  const int64_t now_ms = expiry_clock_.NowMs();
  return ttl_ms > std::numeric_limits<int64_t>::max() - now_ms ? 0 : now_ms + ttl_ms;
}

Status Cache::CheckFits(const Key& key, const Row& row) const {
  // With a storage such an object lives there.
  if (store_->is_persistent()) return Status::OK();
  const int64_t charge =
      ChargeOf(key.text(), row.kind, row.base_bytes + row.patch_bytes, row.patch_count);
  if (residency_.CanFit(charge)) return Status::OK();
  return MakeError(
      ErrorCode::kTooLarge,
      fmt::format("{}: its {} bytes never fit into the memory that this server may keep "
                  "objects in ({} bytes); raise cache.eviction.max_memory, or give it a "
                  "storage",
                  key.text(), charge, residency_.options().max_bytes.value_or(0)));
}

Result<Cache::Planned> Cache::Plan(const RequestContext& context, const Op& op,
                                   const std::optional<Row>& row, SlotState* slot,
                                   const std::shared_ptr<StagedPayload>& staged) const {
  Planned planned;
  if (context.op_id && row) {
    switch (Judge(row->ops, *context.op_id, context.retry, &planned.result.version)) {
      case OpVerdict::kApplied:
        planned.result.replayed = true;
        planned.result.seq = row->seq;
        return planned;
      case OpVerdict::kUndecidable:
        return WithOutcome(
            MakeError(
                ErrorCode::kUnknownOutcome,
                fmt::format(
                    "{}: this retry came too late to tell whether its first attempt "
                    "was applied; read the object and decide",
                    op.key.text())),
            Outcome::kUnknown);
      case OpVerdict::kNew:
        break;
    }
  }
  ARROW_RETURN_NOT_OK(CheckVersion(op.key, row, op.options.if_version));
  const bool live = IsLive(row);
  switch (op.type) {
    case Op::Type::kDelete:
      if (!live) return planned;
      break;
    case Op::Type::kExpire:
      if (!row || row->deleted || live) return planned;
      break;
    case Op::Type::kEvict:
      // What has expired takes memory until it is deleted, by this or by the reaper.
      if (!row || row->deleted || row->seq != op.only_seq) return planned;
      break;
    case Op::Type::kPut:
    case Op::Type::kPatch:
      break;
  }

  Row next;
  if (op.type == Op::Type::kPatch) {
    if (!live) {
      return MakeError(
          ErrorCode::kNotFound,
          fmt::format("{}: no such object to patch; put it first", op.key.text()));
    }
    ARROW_RETURN_NOT_OK(CheckAppend(op.key, *row, *op.payload));
    if (row->patch_count >= options_.max_patches) {
      return MakeError(
          ErrorCode::kTooManyPatches,
          fmt::format("{} has {} patches, the most there may be; write it anew",
                      op.key.text(), row->patch_count));
    }
    next = *row;
    ++next.patch_count;
    next.patch_bytes += op.payload->size();
    if (op.options.ttl_ms > 0) next.expires_at_ms = ExpiryOf(op.options.ttl_ms);
  } else if (row) {
    next.ops = row->ops;
  }
  next.wall_ms = clock_->WallMs();
  const bool writes = op.type == Op::Type::kPut || op.type == Op::Type::kPatch;
  // A delete gives out no version: the tombstone remembers the last one.
  next.version = writes ? NextVersion(row, *slot, op.generated) : row->version;
  next.seq = slot->last_seq + 1;
  if (!writes) {
    next.deleted = true;
  } else if (op.type == Op::Type::kPut) {
    next.base_version = next.version;
    next.kind = op.payload->kind();
    next.base_bytes = op.payload->size();
    next.base = staged->location();
    if (staged->has_checksum()) next.checksum = staged->checksum();
    if (next.kind == Kind::kNative) {
      ARROW_ASSIGN_OR_RAISE(next.schema, EncodeSchema(*op.payload->schema()));
    }
    if (op.options.ttl_ms > 0) next.expires_at_ms = ExpiryOf(op.options.ttl_ms);
  }
  if (writes) {
    const int64_t bytes = next.base_bytes + next.patch_bytes;
    if (bytes > options_.max_object_bytes.value_or(bytes)) {
      return MakeError(
          ErrorCode::kTooLarge,
          fmt::format("{} would have {} bytes, the most that an object may have is {} "
                      "(limits.object); write it anew, or go on in another object",
                      op.key.text(), bytes, *options_.max_object_bytes));
    }
    ARROW_RETURN_NOT_OK(CheckFits(op.key, next));
  }
  if (context.op_id) Remember(&next.ops, *context.op_id, next.version);

  slot->last_seq = next.seq;
  if (next.deleted) ++slot->tombstones;
  if (row && row->deleted) --slot->tombstones;
  planned.result.version = next.version;
  planned.result.seq = next.seq;
  planned.row = std::move(next);
  return planned;
}

}  // namespace flame
