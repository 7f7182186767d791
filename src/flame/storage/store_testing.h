// Writer: puts, patches and deletes on a Store as the cache does it, for tests of stores.
// Every write is its own commit.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/testing/gtest_util.h>

#include "flame/base/error.h"
#include "flame/object/payload.h"
#include "flame/storage/store.h"

namespace flame {

inline Key KeyFor(const std::string& text) { return Key::Parse(text).ValueOrDie(); }

inline std::shared_ptr<const Payload> Bytes(std::string text) {
  return Payload::Opaque({arrow::Buffer::FromString(std::move(text))});
}

inline std::string TextOf(const Payload& opaque) {
  return Contiguous(opaque).ValueOrDie()->ToString();
}

inline std::shared_ptr<arrow::RecordBatch> Numbers(int64_t first, int64_t count) {
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < count; ++i) ARROW_EXPECT_OK(builder.Append(first + i));
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("n", arrow::int64())}),
                                  count, {builder.Finish().ValueOrDie()});
}

inline std::shared_ptr<const Payload> Table(int64_t first, int64_t count) {
  const auto batch = Numbers(first, count);
  return EncodeNative(batch->schema(), {batch}).ValueOrDie();
}

class Writer {
 public:
  explicit Writer(Store* store, Durability durability = Durability::kProcess)
      : store_(store), durability_(durability) {}

  // Each returns the row that it committed.
  arrow::Result<Row> Put(const std::string& text, std::shared_ptr<const Payload> payload,
                         int64_t expires_at_ms = 0) {
    ARROW_ASSIGN_OR_RAISE(Mutation mutation, Next(text));
    Row& row = mutation.row;
    row.base_version = row.version;
    row.kind = payload->kind();
    row.base_bytes = payload->size();
    row.expires_at_ms = expires_at_ms;
    if (row.kind == Kind::kNative) {
      ARROW_ASSIGN_OR_RAISE(row.schema, EncodeSchema(*payload->schema()));
    }
    ARROW_ASSIGN_OR_RAISE(mutation.base,
                          store_->StageBase(mutation.key, payload, row.version));
    row.base = mutation.base->location();
    if (mutation.base->has_checksum()) row.checksum = mutation.base->checksum();
    return Commit(std::move(mutation));
  }

  arrow::Result<Row> Patch(const std::string& text,
                           std::shared_ptr<const Payload> payload) {
    ARROW_ASSIGN_OR_RAISE(Mutation mutation, Next(text));
    if (!mutation.previous || mutation.previous->deleted) {
      return MakeError(ErrorCode::kNotFound, "nothing to patch");
    }
    const Row fresh = mutation.row;
    mutation.row = *mutation.previous;
    mutation.row.seq = fresh.seq;
    mutation.row.version = fresh.version;
    ++mutation.row.patch_count;
    mutation.row.patch_bytes += payload->size();
    ARROW_ASSIGN_OR_RAISE(auto staged,
                          store_->StagePatch(mutation.key, payload, fresh.version));
    mutation.patches.emplace_back(fresh.version, std::move(staged));
    return Commit(std::move(mutation));
  }

  arrow::Result<Row> Delete(const std::string& text) {
    ARROW_ASSIGN_OR_RAISE(Mutation mutation, Next(text));
    if (!mutation.previous || mutation.previous->deleted) {
      return MakeError(ErrorCode::kNotFound, "nothing to delete");
    }
    mutation.row.version -= 1;
    mutation.row.deleted = true;
    return Commit(std::move(mutation));
  }

  /// What a reader gets now, patches behind `|`; "(absent)", "(deleted)".
  std::string Get(const std::string& text) {
    const auto row = store_->Find(KeyFor(text));
    if (!row.ok()) return row.status().ToString();
    if (!*row) return "(absent)";
    if ((*row)->deleted) return "(deleted)";
    const auto object = store_->Read(KeyFor(text), **row);
    if (!object.ok()) return object.status().ToString();
    if ((*row)->kind == Kind::kNative) return "(table)";
    std::string result = TextOf(*object->base);
    std::vector<std::string> patches;
    for (const flame::Patch* patch = object->last_patch.get(); patch != nullptr;
         patch = patch->previous.get()) {
      patches.insert(patches.begin(), TextOf(*patch->payload));
    }
    for (const auto& patch : patches) result += "|" + patch;
    return result;
  }

  /// A mutation of `text` with the next version and seq, otherwise empty.
  arrow::Result<Mutation> Next(const std::string& text) {
    Key key = KeyFor(text);
    ARROW_ASSIGN_OR_RAISE(auto previous, store_->Find(key));
    Row row;
    row.version = previous ? previous->version + 1 : store_->Slot(key.slot()).floor + 1;
    row.seq = store_->Slot(key.slot()).last_seq + 1;
    row.wall_ms = 1000;
    return Mutation{std::move(key), std::move(row), std::move(previous), nullptr, {}};
  }

  arrow::Result<Row> Commit(Mutation mutation) {
    const Row row = mutation.row;
    const uint16_t slot = mutation.key.slot();
    SlotState state = store_->Slot(slot);
    state.last_seq = row.seq;
    if (row.deleted) ++state.tombstones;
    if (mutation.previous && mutation.previous->deleted) --state.tombstones;
    CommitBatch batch;
    batch.mutations.push_back(std::move(mutation));
    batch.slots.emplace_back(slot, state);
    ARROW_RETURN_NOT_OK(store_->Commit(std::move(batch), durability_).status());
    return row;
  }

 private:
  Store* const store_;
  const Durability durability_;
};

}  // namespace flame
