// Writing: from the locks to the lane (docs/internals/write_path.md).
#include "flame/cache/cache_internal.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "flame/base/log.h"

namespace flame {

using arrow::Result;
using arrow::Status;

namespace {

constexpr int64_t kPage = 500;  // Keys per page of a prefix delete: one log record each.

CommitEvent::Type EventTypeOf(Cache::Op::Type type) {
  switch (type) {
    case Cache::Op::Type::kPut:
      return CommitEvent::Type::kPut;
    case Cache::Op::Type::kPatch:
      return CommitEvent::Type::kPatch;
    case Cache::Op::Type::kDelete:
      return CommitEvent::Type::kDelete;
    case Cache::Op::Type::kExpire:
      return CommitEvent::Type::kExpire;
    case Cache::Op::Type::kEvict:
      return CommitEvent::Type::kEvict;
  }
  return CommitEvent::Type::kPut;
}

Operation OperationOf(Cache::Op::Type type) {
  switch (type) {
    case Cache::Op::Type::kPut:
      return Operation::kPut;
    case Cache::Op::Type::kPatch:
      return Operation::kPatch;
    case Cache::Op::Type::kDelete:
    case Cache::Op::Type::kExpire:
    case Cache::Op::Type::kEvict:
      return Operation::kDelete;
  }
  return Operation::kPut;
}

}  // namespace

Result<std::vector<WriteResult>> Cache::Write(const RequestContext& context,
                                              const std::vector<Guard>& guards,
                                              std::vector<Op> ops) {
  ENTER_OR_RETURN();
  for (Op& op : ops) {
    if (op.type == Op::Type::kPut) ARROW_RETURN_NOT_OK(op.key.CheckWritable());
    if (op.payload == nullptr) continue;
    // What is packed when it is published is copied then.
    if (op.type == Op::Type::kPut &&
        Resident::CanPack(op.payload->kind(), 0, op.payload->size())) {
      continue;
    }
    ARROW_ASSIGN_OR_RAISE(op.payload,
                          Compact(std::move(op.payload), options_.compact_below, pool_));
  }

  // Before the locks: bring the heads into memory and the bytes to where they can be
  // committed from.
  Pins pins(this);
  std::vector<std::shared_ptr<StagedPayload>> staged(ops.size());
  for (const Guard& guard : guards)
    ARROW_RETURN_NOT_OK(pins.Add(guard.key, true).status());
  for (size_t i = 0; i < ops.size(); ++i) {
    ARROW_ASSIGN_OR_RAISE(const Version version, pins.Add(ops[i].key, !ops[i].generated));
    if (ops[i].type == Op::Type::kPut) {
      ARROW_ASSIGN_OR_RAISE(staged[i],
                            store_->StageBase(ops[i].key, ops[i].payload, version + 1));
    } else if (ops[i].type == Op::Type::kPatch) {
      ARROW_ASSIGN_OR_RAISE(staged[i],
                            store_->StagePatch(ops[i].key, ops[i].payload, version + 1));
    }
  }

  PendingCommit commit;
  std::vector<WriteResult> results;
  Status refusal;
  {
    // Shard locks in rising order; then the lane's, inside Append.
    std::set<size_t> indexes;
    for (const Key& key : pins.keys()) indexes.insert(Table::ShardIndex(key.slot()));
    std::vector<std::unique_ptr<MutexLock>> locks;
    for (size_t index : indexes) {
      locks.push_back(std::make_unique<MutexLock>(table_.shard(index).mutex));
    }
    // clang does not follow locks that are held in a container.
    auto entry_of = [&](const Key& key) NO_THREAD_SAFETY_ANALYSIS -> Entry& {
      return table_.ShardOf(key).entries[key.text()];
    };
    // A batch that failed meanwhile has taken the heads away: what was decided on them is
    // void.
    for (const Key& key : pins.keys()) {
      if (entry_of(key).head == nullptr) {
        return WithOutcome(
            MakeError(
                ErrorCode::kUnavailable,
                fmt::format("{}: a write before this one failed; retry", key.text())),
            Outcome::kNotApplied);
      }
    }
    // Decide everything on copies, so that a refusal leaves no trace.
    std::map<std::string, std::optional<Row>> rows;
    std::map<uint16_t, SlotState> slots;
    auto decide = [&]() -> Status {
      for (const Guard& guard : guards) {
        ARROW_RETURN_NOT_OK(
            CheckVersion(guard.key, entry_of(guard.key).head->appended, guard.version));
      }

      for (size_t i = 0; i < ops.size(); ++i) {
        const Op& op = ops[i];
        auto& row = rows.try_emplace(op.key.text(), entry_of(op.key).head->appended)
                        .first->second;
        SlotState& slot =
            slots.try_emplace(op.key.slot(), table_.slot(op.key.slot())).first->second;
        ARROW_ASSIGN_OR_RAISE(Planned planned, Plan(context, op, row, &slot, staged[i]));
        results.push_back(planned.result);
        if (!planned.row) continue;

        Mutation mutation{op.key, *planned.row, row, nullptr, {}};
        if (op.type == Op::Type::kPut) mutation.base = staged[i];
        if (op.type == Op::Type::kPatch) {
          mutation.patches.emplace_back(planned.row->version, staged[i]);
        }
        commit.batch.mutations.push_back(std::move(mutation));
        commit.publications.push_back({{EventTypeOf(op.type), op.key, planned.row->seq,
                                        planned.row->version, planned.row->kind},
                                       *planned.row,
                                       row ? row->seq : 0,
                                       op.payload,
                                       {}});
        row = std::move(planned.row);
      }
      return Status::OK();
    };
    refusal = decide();
    if (!refusal.ok()) commit.publications.clear();

    int64_t tombstones = 0;
    for (const Publication& publication : commit.publications) {
      Entry& entry = entry_of(publication.event.key);
      entry.head->appended = publication.row;
      ++entry.pending;
    }
    if (!commit.publications.empty()) {
      for (const auto& [slot, state] : slots) {
        tombstones += state.tombstones - table_.slot(slot).tombstones;
        table_.slot(slot) = state;
        commit.batch.slots.emplace_back(slot, state);
      }
    }
    tombstones_ += tombstones;
    for (const Op& op : ops) {
      if (op.type == Op::Type::kExpire) {
        commit.batch.expired_until_ms = expiry_clock_.NowMs();
      }
      commit.durability = std::max(commit.durability,
                                   op.options.durability.value_or(options_.durability));
    }
    // What changes nothing - a replay, a refusal, a delete of nothing - tells what is
    // there. While that is not published yet, it waits its turn in the lane, with nothing
    // to do: otherwise its caller would know more than a reader who comes after him, and
    // perhaps of a write that fails.
    if (commit.publications.empty()) {
      commit.batch = {};
      const bool ahead =
          std::any_of(pins.keys().begin(), pins.keys().end(),
                      [&](const Key& key) { return entry_of(key).pending > 0; });
      if (!ahead) {
        if (!refusal.ok()) return refusal;
        return results;
      }
    }
    lane_.Append(&commit);
  }
  const Status done = lane_.Await(&commit);
  if (!done.ok() && !refusal.ok()) return WithOutcome(done, Outcome::kNotApplied);
  ARROW_RETURN_NOT_OK(WithDefaultOutcome(done, Outcome::kUnknown));
  ARROW_RETURN_NOT_OK(refusal);
  for (size_t i = 0; i < ops.size(); ++i) {
    FLAME_LOG_DEBUG(cache, "commit {} key={} version={} seq={} bytes={}{}",
                    NameOf(EventTypeOf(ops[i].type)), ops[i].key.text(),
                    results[i].version, results[i].seq,
                    ops[i].payload ? ops[i].payload->size() : 0,
                    results[i].replayed ? " (replayed)" : "");
  }
  return results;
}

Result<std::vector<WriteResult>> Cache::Transact(const RequestContext& context,
                                                 const std::vector<Guard>& guards,
                                                 std::vector<Op> ops) {
  std::optional<Key> brought;
  for (const Op& op : ops) {
    ARROW_RETURN_NOT_OK(WithOutcome(
        authorizer_->Authorize(context.principal, OperationOf(op.type), op.key.text()),
        Outcome::kNotApplied));
    if (op.payload != nullptr) brought = op.key;
  }
  auto results = Write(context, guards, std::move(ops));
  // Whatever fails before the lane has it has not been applied.
  if (!results.ok()) return WithDefaultOutcome(results.status(), Outcome::kNotApplied);
  if (brought) {
    // The write has happened, whatever becomes of the others' room.
    const Status evicted = EvictToLimits(&*brought);
    if (!evicted.ok()) FLAME_LOG_WARN(cache, "evicting: {}", evicted.ToString());
  }
  return results;
}

Result<WriteResult> Cache::Put(const RequestContext& context, const Key& key,
                               std::shared_ptr<const Payload> payload,
                               const WriteOptions& options, bool generated) {
  ARROW_ASSIGN_OR_RAISE(
      auto results,
      Transact(context, {},
               {{Op::Type::kPut, key, std::move(payload), options, generated}}));
  return results[0];
}

Result<WriteResult> Cache::Patch(const RequestContext& context, const Key& key,
                                 std::shared_ptr<const Payload> payload,
                                 const WriteOptions& options) {
  ARROW_ASSIGN_OR_RAISE(
      auto results,
      Transact(context, {},
               {{Op::Type::kPatch, key, std::move(payload), options, false}}));
  return results[0];
}

Result<std::optional<WriteResult>> Cache::Mutate(const RequestContext& context,
                                                 const Key& key, const Decide& decide) {
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const GetResult got, Get(context, key, 0));
    const auto* snapshot = std::get_if<std::shared_ptr<const Snapshot>>(&got);
    ARROW_ASSIGN_OR_RAISE(auto payload, decide(snapshot ? snapshot->get() : nullptr));
    if (payload == nullptr) return std::nullopt;
    WriteOptions options;
    options.if_version = snapshot ? (*snapshot)->version : 0;
    auto result = Put(context, key, std::move(payload), options);
    if (result.ok()) return *result;
    if (!IsError(result.status(), ErrorCode::kConflict)) return result.status();
  }
}

Result<int64_t> Cache::Delete(const RequestContext& context, const Selection& selection,
                              const WriteOptions& options) {
  ENTER_OR_RETURN();
  auto delete_keys = [&](const std::vector<Key>& keys) -> Result<int64_t> {
    std::vector<Op> ops;
    for (const Key& key : keys)
      ops.push_back({Op::Type::kDelete, key, nullptr, options, false});
    ARROW_ASSIGN_OR_RAISE(const auto results, Transact(context, {}, std::move(ops)));
    ARROW_RETURN_NOT_OK(FoldIfMany());
    return std::count_if(results.begin(), results.end(),
                         [](const WriteResult& result) { return result.version != 0; });
  };
  if (selection.key) return delete_keys({*selection.key});

  if (options.if_version) {
    return InvalidError("if_version goes with a full key; '" + selection.prefix +
                        "' is a prefix");
  }
  ARROW_RETURN_NOT_OK(
      authorizer_->Authorize(context.principal, Operation::kDelete, selection.prefix));
  int64_t deleted = 0;
  std::string after;
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto page, store_->Scan(selection.prefix, after, kPage));
    if (page.empty()) break;
    std::vector<Key> keys;
    for (const auto& [key, row] : page) {
      if (key.is_object()) keys.push_back(key);
    }
    ARROW_ASSIGN_OR_RAISE(const int64_t count, delete_keys(keys));
    deleted += count;
    after = page.back().first.text();
  }
  // Files that nobody has asked for yet would otherwise come to life after the delete.
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto strays, store_->Strays(selection.prefix, kPage));
    if (strays.empty()) return deleted;
    ARROW_ASSIGN_OR_RAISE(const int64_t count, delete_keys(strays));
    deleted += count;
    if (count == 0) return deleted;
  }
}

}  // namespace flame
