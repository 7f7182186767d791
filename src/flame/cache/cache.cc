#include "flame/cache/cache.h"

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <set>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;

constexpr int64_t kPage = 500;  // Keys per page of a prefix delete: one log record each.
constexpr int kMaxRereads = 100;  // A reader that is overtaken this often gives up.

uint64_t RandomOrigin() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

ObjectStat FromRow(Key key, const Row& row) {
  return {std::move(key),
          row.version,
          row.base_version,
          row.kind,
          row.base_bytes + row.patch_bytes,
          row.patch_count,
          row.wall_ms,
          row.expires_at_ms,
          row.schema};
}

CommitEvent::Type EventTypeOf(Cache::Op::Type type) {
  switch (type) {
    case Cache::Op::Type::kPut:
      return CommitEvent::Type::kPut;
    case Cache::Op::Type::kPatch:
      return CommitEvent::Type::kPatch;
    case Cache::Op::Type::kDelete:
      return CommitEvent::Type::kDelete;
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
      return Operation::kDelete;
  }
  return Operation::kPut;
}

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

// Keeps the heads of some keys in memory while a write decides about them.
class Cache::Pins {
 public:
  explicit Pins(Cache* cache) : cache_(cache) {}
  ~Pins() {
    for (const Key& key : keys_) {
      Shard& shard = cache_->table_.ShardOf(key);
      MutexLock lock(shard.mutex);
      Entry& entry = shard.entries[key.text()];
      --entry.pins;
      if (entry.pins == 0 && entry.pending == 0) entry.head.reset();
      shard.DropIfIdle(key.text());
    }
  }
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;

  /// Make sure that the head of `key` is in the table, and keep it there. Returns the
  /// version it shows now.
  Result<Version> Add(const Key& key, bool may_be_foreign) {
    Shard& shard = cache_->table_.ShardOf(key);
    MutexLock lock(shard.mutex);
    {
      Entry& entry = shard.entries[key.text()];
      ++entry.pins;
      keys_.push_back(key);
      while (entry.head == nullptr && entry.loading) shard.changed.Wait(lock);
      if (entry.head != nullptr) return VersionOf(*entry.head);
      entry.loading = true;
    }
    lock.Unlock();
    auto row = cache_->LoadHead(key, may_be_foreign);
    lock.Lock();
    Entry& entry = shard.entries[key.text()];
    entry.loading = false;
    shard.changed.NotifyAll();
    if (!row.ok()) return row.status();
    // A failed batch may have dropped the head of an adoption; the row from the store is
    // what holds.
    if (entry.head == nullptr) entry.head = std::make_unique<Head>(Head{*row, *row});
    return VersionOf(*entry.head);
  }

  const std::vector<Key>& keys() const { return keys_; }

 private:
  static Version VersionOf(const Head& head) {
    return head.appended ? head.appended->version : 0;
  }

  Cache* const cache_;
  std::vector<Key> keys_;
};

// One operation's outcome, decided under the locks.
struct Cache::Planned {
  WriteResult result;
  std::optional<Row> row;  // The key's new row; nullopt = nothing changes.
};

Cache::Cache(Store* store, BufferPool* pool, const Clock* clock,
             const Authorizer* authorizer, CacheOptions options)
    : store_(store),
      pool_(pool),
      clock_(clock),
      authorizer_(authorizer),
      options_(options),
      feed_(RandomOrigin(), options.feed_capacity),
      lane_(
          store, [this](const Publication& publication) { Publish(publication); },
          [this](const Status& why) { Abandon(why); }) {
  int64_t tombstones = 0;
  for (int slot = 0; slot < kSlots; ++slot) {
    table_.slot(static_cast<uint16_t>(slot)) = store_->Slot(static_cast<uint16_t>(slot));
    tombstones += table_.slot(static_cast<uint16_t>(slot)).tombstones;
  }
  tombstones_ = tombstones;
}

Cache::~Cache() { ARROW_UNUSED(Close()); }

Status Cache::Close() {
  feed_.Close();
  if (!gate_.CloseAndWait()) return Status::OK();
  return store_->Close();
}

#define ENTER_OR_RETURN()                                        \
  const auto pass = gate_.Enter();                               \
  if (!pass) {                                                   \
    return MakeError(ErrorCode::kUnavailable,                    \
                     "the server is stopping; try again later"); \
  }

bool Cache::IsExpired(const Row& row) const {
  return row.expires_at_ms != 0 && row.expires_at_ms <= clock_->WallMs();
}

// ---------------------------------------------------------------------------------------
// Finding

Result<std::optional<Row>> Cache::FindRow(const Key& key) {
  Shard& shard = table_.ShardOf(key);
  auto published = [&](std::optional<Row>* row) {
    MutexLock lock(shard.mutex);
    const auto found = shard.entries.find(key.text());
    if (found == shard.entries.end() || found->second.head == nullptr) return false;
    *row = found->second.head->published;
    return true;
  };
  while (true) {
    std::optional<Row> row;
    if (published(&row)) return row;
    ARROW_ASSIGN_OR_RAISE(row, store_->Find(key));
    // A writer came meanwhile: what we found may be his, committed and not yet published.
    if (published(&row)) return row;
    const bool unread = row && !row->deleted && row->base.type == Location::Type::kUnread;
    if (!key.is_object() || (row && !unread)) return row;
    // Another program may have left a file for this key: look for it as a writer would,
    // which takes it in.
    Pins pins(this);
    ARROW_RETURN_NOT_OK(pins.Add(key, /*may_be_foreign=*/true).status());
    if (published(&row)) return row;
  }
}

Result<std::optional<Row>> Cache::LoadHead(const Key& key, bool may_be_foreign) {
  ARROW_ASSIGN_OR_RAISE(auto row, store_->Find(key));
  const bool unread = row && !row->deleted && row->base.type == Location::Type::kUnread;
  if (unread || (!row && may_be_foreign && key.is_object())) {
    ARROW_ASSIGN_OR_RAISE(const bool adopted, Adopt(key, row));
    if (adopted) return store_->Find(key);
  }
  return row;
}

// Runs with `loading` set on the key's entry, so that no other writer decides about the
// key meanwhile.
Result<bool> Cache::Adopt(const Key& key, const std::optional<Row>& row) {
  ARROW_ASSIGN_OR_RAISE(auto foreign, store_->ReadForeign(key, row ? &*row : nullptr));
  if (!foreign && !row) return false;

  PendingCommit commit;
  commit.durability = options_.durability;
  Mutation mutation{key, Row{}, row, nullptr, {}};
  Publication publication{
      {CommitEvent::Type::kPut, key}, Row{}, row ? row->seq : 0, nullptr, {}};
  Row& next = mutation.row;
  next.wall_ms = clock_->WallMs();
  if (foreign) {
    ARROW_ASSIGN_OR_RAISE(mutation.base, store_->AdoptBase(key, *foreign));
    publication.payload = foreign->base;
    next.kind = foreign->base->kind();
    next.base_bytes = foreign->base->size();
    next.base = mutation.base->location();
    if (mutation.base->has_checksum()) next.checksum = mutation.base->checksum();
    if (next.kind == Kind::kNative) {
      ARROW_ASSIGN_OR_RAISE(next.schema, EncodeSchema(*foreign->base->schema()));
    }
    next.patch_count = static_cast<int32_t>(foreign->patches.size());
    for (const auto& [version, payload] : foreign->patches) {
      ARROW_ASSIGN_OR_RAISE(auto staged, store_->StagePatch(key, payload, version));
      mutation.patches.emplace_back(version, std::move(staged));
      next.patch_bytes += payload->size();
    }
  }

  Shard& shard = table_.ShardOf(key);
  {
    MutexLock lock(shard.mutex);
    SlotState& slot = table_.slot(key.slot());
    next.seq = ++slot.last_seq;
    if (foreign) {
      // The newest version is the file's, so that clients that hold it stay right; base
      // and patches are made dense.
      const Version newest = foreign->patches.empty() ? foreign->base_version
                                                      : foreign->patches.back().first;
      const Version patches = static_cast<Version>(foreign->patches.size());
      next.version = std::max({newest, slot.floor + 1 + patches, patches + 1});
      if (slot.generation > 0) {
        next.version =
            std::max(next.version,
                     static_cast<Version>(slot.generation << kGenerationShift) + patches);
      }
      next.base_version = next.version - patches;
      for (size_t i = 0; i < mutation.patches.size(); ++i) {
        mutation.patches[i].first = next.base_version + 1 + static_cast<Version>(i);
        publication.patches.emplace_back(mutation.patches[i].first,
                                         foreign->patches[i].second);
      }
    } else {
      // The file could not be read, and with it the version is lost: whatever it was, the
      // next one is above it.
      next.deleted = true;
      next.version = (Version{1} << kGenerationShift) - 1;
      publication.event.type = CommitEvent::Type::kDelete;
      ++slot.tombstones;
      ++tombstones_;
    }
    publication.row = next;
    publication.event.seq = next.seq;
    publication.event.version = next.version;
    publication.event.kind = next.kind;
    commit.batch.mutations.push_back(std::move(mutation));
    commit.batch.slots.emplace_back(key.slot(), slot);
    commit.publications.push_back(std::move(publication));
    ++shard.entries[key.text()].pending;
    lane_.Append(&commit);
  }
  ARROW_RETURN_NOT_OK(lane_.Await(&commit));
  FLAME_LOG_DEBUG(cache, "adopted key={} version={}", key.text(), next.version);
  return true;
}

// ---------------------------------------------------------------------------------------
// Writing

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
  if (op.type == Op::Type::kDelete && !live) return planned;

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
  } else if (row) {
    next.ops = row->ops;
  }
  next.wall_ms = clock_->WallMs();
  // A delete gives out no version: the tombstone remembers the last one.
  next.version =
      op.type == Op::Type::kDelete ? row->version : NextVersion(row, *slot, op.generated);
  next.seq = slot->last_seq + 1;
  if (op.type == Op::Type::kDelete) {
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
    if (op.options.ttl_ms > 0) next.expires_at_ms = next.wall_ms + op.options.ttl_ms;
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

Result<std::vector<WriteResult>> Cache::Write(const RequestContext& context,
                                              const std::vector<Guard>& guards,
                                              std::vector<Op> ops) {
  ENTER_OR_RETURN();
  for (Op& op : ops) {
    ARROW_RETURN_NOT_OK(
        authorizer_->Authorize(context.principal, OperationOf(op.type), op.key.text()));
    if (op.type == Op::Type::kPut) ARROW_RETURN_NOT_OK(op.key.CheckWritable());
    if (op.payload != nullptr) {
      ARROW_ASSIGN_OR_RAISE(
          op.payload, Compact(std::move(op.payload), options_.compact_below, pool_));
    }
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
  bool replayed = false;
  {
    // Shard locks in rising order; then the lane's, inside Append.
    std::set<size_t> indexes;
    for (const Key& key : pins.keys()) indexes.insert(Table::ShardIndex(key.slot()));
    std::vector<std::unique_ptr<MutexLock>> locks;
    for (size_t index : indexes) {
      locks.push_back(std::make_unique<MutexLock>(table_.shard(index).mutex));
    }
    auto entry_of = [&](const Key& key) -> Entry& {
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
    for (const Guard& guard : guards) {
      ARROW_RETURN_NOT_OK(
          CheckVersion(guard.key, entry_of(guard.key).head->appended, guard.version));
    }

    // Decide everything on copies, so that a refusal leaves no trace.
    std::map<std::string, std::optional<Row>> rows;
    std::map<uint16_t, SlotState> slots;
    for (size_t i = 0; i < ops.size(); ++i) {
      const Op& op = ops[i];
      auto& row =
          rows.try_emplace(op.key.text(), entry_of(op.key).head->appended).first->second;
      SlotState& slot =
          slots.try_emplace(op.key.slot(), table_.slot(op.key.slot())).first->second;
      ARROW_ASSIGN_OR_RAISE(Planned planned, Plan(context, op, row, &slot, staged[i]));
      results.push_back(planned.result);
      replayed |= planned.result.replayed;
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
      commit.durability = std::max(commit.durability,
                                   op.options.durability.value_or(options_.durability));
    }
    // A replay is answered only when its first attempt is durable: it waits its turn in
    // the lane, with nothing to do.
    if (commit.publications.empty() && !replayed) return results;
    lane_.Append(&commit);
  }
  ARROW_RETURN_NOT_OK(WithDefaultOutcome(lane_.Await(&commit), Outcome::kUnknown));
  for (size_t i = 0; i < ops.size(); ++i) {
    FLAME_LOG_DEBUG(cache, "commit {} key={} version={} seq={} bytes={}{}",
                    ops[i].type == Op::Type::kPut     ? "put"
                    : ops[i].type == Op::Type::kPatch ? "patch"
                                                      : "delete",
                    ops[i].key.text(), results[i].version, results[i].seq,
                    ops[i].payload ? ops[i].payload->size() : 0,
                    results[i].replayed ? " (replayed)" : "");
  }
  return results;
}

Result<std::vector<WriteResult>> Cache::Transact(const RequestContext& context,
                                                 const std::vector<Guard>& guards,
                                                 std::vector<Op> ops) {
  auto results = Write(context, guards, std::move(ops));
  // Whatever fails before the lane has it has not been applied.
  if (!results.ok()) return WithDefaultOutcome(results.status(), Outcome::kNotApplied);
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

// ---------------------------------------------------------------------------------------
// Reading

std::shared_ptr<const Snapshot> Cache::MakeSnapshot(const Row& row, StoredObject object) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->id = next_snapshot_id_.fetch_add(1, std::memory_order_relaxed);
  snapshot->version = row.version;
  snapshot->base_version = row.base_version;
  snapshot->seq = row.seq;
  snapshot->meta_seq = row.meta_seq;
  snapshot->modified_ms = row.wall_ms;
  snapshot->expires_at_ms = row.expires_at_ms;
  snapshot->base = std::move(object.base);
  snapshot->last_patch = std::move(object.last_patch);
  snapshot->patch_count = row.patch_count;
  snapshot->bytes = row.base_bytes + row.patch_bytes;
  return snapshot;
}

Result<GetResult> Cache::Get(const RequestContext& context, const Key& key,
                             Version known) {
  ENTER_OR_RETURN();
  ARROW_RETURN_NOT_OK(
      authorizer_->Authorize(context.principal, Operation::kGet, key.text()));
  Shard& shard = table_.ShardOf(key);
  for (int attempt = 0; attempt < kMaxRereads; ++attempt) {
    uint64_t publishes = 0;
    {
      MutexLock lock(shard.mutex);
      auto found = shard.entries.find(key.text());
      // Somebody reads the same payload: wait for it rather than hold it twice.
      while (found != shard.entries.end() && found->second.reading) {
        shard.changed.Wait(lock);
        found = shard.entries.find(key.text());
      }
      if (found != shard.entries.end() && found->second.published != nullptr) {
        const auto snapshot = found->second.published;
        if (snapshot->expires_at_ms != 0 && snapshot->expires_at_ms <= clock_->WallMs()) {
          return Absent{};
        }
        if (known != 0 && snapshot->version == known) {
          return NotModified{known, snapshot->kind()};
        }
        return snapshot;
      }
      publishes = shard.publishes;
    }

    ARROW_ASSIGN_OR_RAISE(const auto row, FindRow(key));
    {
      MutexLock lock(shard.mutex);
      const auto found = shard.entries.find(key.text());
      // The object became resident while we looked: whoever reads next is shown that, and
      // so must we.
      if (found != shard.entries.end() &&
          (found->second.published != nullptr || found->second.reading)) {
        continue;
      }
      if (!IsLive(row)) return Absent{};
      if (known != 0 && row->version == known) return NotModified{known, row->kind};
      shard.entries[key.text()].reading = true;
    }
    FLAME_LOG_DEBUG(cache, "load key={} version={} bytes={}", key.text(), row->version,
                    row->base_bytes + row->patch_bytes);
    auto object = store_->Read(key, *row);
    std::shared_ptr<const Snapshot> snapshot;
    if (object.ok()) snapshot = MakeSnapshot(*row, *std::move(object));
    {
      MutexLock lock(shard.mutex);
      Entry& entry = shard.entries[key.text()];
      entry.reading = false;
      shard.changed.NotifyAll();
      // Only if nothing was published meanwhile is this certainly still the newest;
      // otherwise it was the newest when it was found, which is good enough for this
      // caller but not for the table.
      if (snapshot != nullptr && entry.pending == 0 && entry.published == nullptr &&
          shard.publishes == publishes) {
        entry.published = snapshot;
      }
      // A commit has replaced the bytes that readers are still to see: it is about to be
      // published.
      if (IsError(object.status(), ErrorCode::kStale) && entry.pending > 0 &&
          shard.publishes == publishes) {
        shard.changed.Wait(lock);
      }
      shard.DropIfIdle(key.text());
    }
    if (snapshot != nullptr) return snapshot;
    if (!IsError(object.status(), ErrorCode::kStale)) return object.status();
  }
  return MakeError(
      ErrorCode::kUnavailable,
      fmt::format("{} is being rewritten faster than it can be read; try again",
                  key.text()));
}

Result<std::optional<ObjectStat>> Cache::StatOf(const Key& key,
                                                const Snapshot& snapshot) const {
  if (snapshot.expires_at_ms != 0 && snapshot.expires_at_ms <= clock_->WallMs()) {
    return std::nullopt;
  }
  ObjectStat stat{key,
                  snapshot.version,
                  snapshot.base_version,
                  snapshot.kind(),
                  snapshot.bytes,
                  snapshot.patch_count,
                  snapshot.modified_ms,
                  snapshot.expires_at_ms,
                  nullptr};
  if (stat.kind == Kind::kNative) {
    ARROW_ASSIGN_OR_RAISE(stat.schema, EncodeSchema(*snapshot.base->schema()));
  }
  return stat;
}

Result<std::optional<ObjectStat>> Cache::Stat(const RequestContext& context,
                                              const Key& key) {
  ENTER_OR_RETURN();
  ARROW_RETURN_NOT_OK(
      authorizer_->Authorize(context.principal, Operation::kStat, key.text()));
  // What is resident is what Get answers; the row counts only for an object that is not,
  // before and after the look.
  if (const auto snapshot = FindResident(key)) return StatOf(key, *snapshot);
  ARROW_ASSIGN_OR_RAISE(const auto row, FindRow(key));
  if (const auto snapshot = FindResident(key)) return StatOf(key, *snapshot);
  if (!IsLive(row)) return std::nullopt;
  return FromRow(key, *row);
}

std::shared_ptr<const Snapshot> Cache::FindResident(const Key& key) {
  Shard& shard = table_.ShardOf(key);
  MutexLock lock(shard.mutex);
  const auto found = shard.entries.find(key.text());
  return found == shard.entries.end() ? nullptr : found->second.published;
}

Result<std::vector<ObjectStat>> Cache::List(const RequestContext& context,
                                            const std::string& prefix,
                                            const std::string& after, int64_t limit) {
  ENTER_OR_RETURN();
  ARROW_RETURN_NOT_OK(
      authorizer_->Authorize(context.principal, Operation::kList, prefix));
  std::vector<ObjectStat> stats;
  std::string position = after;
  // Plain keys and expired objects are passed over, so a page may take several of the
  // store's.
  while (std::ssize(stats) < limit) {
    ARROW_ASSIGN_OR_RAISE(auto rows,
                          store_->Scan(prefix, position, limit - std::ssize(stats)));
    if (rows.empty()) break;
    position = rows.back().first.text();
    for (auto& [key, row] : rows) {
      if (key.is_object() && IsLive(row)) stats.push_back(FromRow(std::move(key), row));
    }
  }
  return stats;
}

Result<Feed::Page> Cache::ReadFeed(const RequestContext& context, std::string_view cursor,
                                   const std::string& prefix, int64_t limit,
                                   std::chrono::milliseconds wait) {
  ENTER_OR_RETURN();
  ARROW_RETURN_NOT_OK(
      authorizer_->Authorize(context.principal, Operation::kFeed, prefix));
  if (cursor.empty()) return Feed::Page{false, {}, feed_.Now()};
  return feed_.Read(cursor, prefix, limit, wait, context.cancelled);
}

// ---------------------------------------------------------------------------------------
// Publishing: called by the commit lane, in order

void Cache::Publish(const Publication& publication) {
  const Row& row = publication.row;
  const std::string& key = publication.event.key.text();
  feed_.BeforePublish(publication.event);
  std::shared_ptr<const Snapshot> retired;
  {
    Shard& shard = table_.ShardOf(publication.event.key);
    MutexLock lock(shard.mutex);
    ++shard.publishes;
    Entry& entry = shard.entries[key];
    retired = std::move(entry.published);
    entry.published = nullptr;
    switch (publication.event.type) {
      case CommitEvent::Type::kPut: {
        StoredObject object{publication.payload, nullptr};
        for (const auto& [version, payload] : publication.patches) {
          object.last_patch = std::make_shared<const flame::Patch>(
              flame::Patch{version, payload, std::move(object.last_patch)});
        }
        entry.published = MakeSnapshot(row, std::move(object));
        break;
      }
      case CommitEvent::Type::kPatch:
        // Extends what is resident, if that is what the patch was appended to; else the
        // next reader loads it all.
        if (retired != nullptr && retired->seq == publication.previous_seq) {
          entry.published = MakeSnapshot(
              row, {retired->base,
                    std::make_shared<const flame::Patch>(flame::Patch{
                        row.version, publication.payload, retired->last_patch})});
        }
        break;
      case CommitEvent::Type::kDelete:
        break;
    }
    if (entry.head != nullptr) entry.head->published = row;
    --entry.pending;
    if (entry.pending == 0 && entry.pins == 0) entry.head.reset();
    shard.DropIfIdle(key);
    shard.changed.NotifyAll();
  }
  if (retired != nullptr) pool_->Retire(std::move(retired));
  feed_.AfterPublish(publication.event);
}

// A batch failed, and with it everything that was appended after it: forget all heads
// that were built on it.
void Cache::Abandon(const Status& why) {
  FLAME_LOG_ERROR(cache, "commit failed: {}", why.ToString());
  std::vector<std::unique_ptr<MutexLock>> locks;
  for (size_t i = 0; i < Table::kShards; ++i) {
    locks.push_back(std::make_unique<MutexLock>(table_.shard(i).mutex));
  }
  lane_.FailQueued(why);
  int64_t tombstones = 0;
  for (size_t i = 0; i < Table::kShards; ++i) {
    Shard& shard = table_.shard(i);
    for (auto entry = shard.entries.begin(); entry != shard.entries.end();) {
      entry->second.head.reset();
      entry->second.pending = 0;
      entry = entry->second.idle() ? shard.entries.erase(entry) : std::next(entry);
    }
    shard.changed.NotifyAll();
  }
  for (int slot = 0; slot < kSlots; ++slot) {
    table_.slot(static_cast<uint16_t>(slot)) = store_->Slot(static_cast<uint16_t>(slot));
    tombstones += table_.slot(static_cast<uint16_t>(slot)).tombstones;
  }
  tombstones_ = tombstones;
}

// ---------------------------------------------------------------------------------------
// Folding tombstones into floors

Status Cache::FoldIfMany() {
  while (tombstones_ > options_.max_tombstones) {
    uint16_t fullest = 0;
    int64_t most = 0;
    for (int slot = 0; slot < kSlots; ++slot) {
      Shard& shard = table_.shard(Table::ShardIndex(static_cast<uint16_t>(slot)));
      MutexLock lock(shard.mutex);
      if (table_.slot(static_cast<uint16_t>(slot)).tombstones > most) {
        most = table_.slot(static_cast<uint16_t>(slot)).tombstones;
        fullest = static_cast<uint16_t>(slot);
      }
    }
    if (most == 0) return Status::OK();
    const int64_t before = tombstones_;
    ARROW_RETURN_NOT_OK(FoldSlot(fullest, std::numeric_limits<int64_t>::max()));
    if (tombstones_ >= before)
      return Status::OK();  // Busy keys: another delete will try again.
  }
  return Status::OK();
}

Status Cache::FoldOldTombstones(std::chrono::milliseconds age) {
  const int64_t until_ms = clock_->WallMs() - age.count();
  for (int slot = 0; slot < kSlots; ++slot) {
    Shard& shard = table_.shard(Table::ShardIndex(static_cast<uint16_t>(slot)));
    {
      MutexLock lock(shard.mutex);
      if (table_.slot(static_cast<uint16_t>(slot)).tombstones == 0) continue;
    }
    ARROW_RETURN_NOT_OK(FoldSlot(static_cast<uint16_t>(slot), until_ms));
  }
  return Status::OK();
}

Status Cache::FoldSlot(uint16_t slot, int64_t until_ms) {
  ENTER_OR_RETURN();
  Shard& shard = table_.shard(Table::ShardIndex(slot));
  uint64_t publishes = 0;
  {
    MutexLock lock(shard.mutex);
    publishes = shard.publishes;
  }
  ARROW_ASSIGN_OR_RAISE(const auto tombstones, store_->Tombstones(slot));
  PendingCommit commit;
  {
    MutexLock lock(shard.mutex);
    if (shard.publishes != publishes) return Status::OK();
    SlotState& state = table_.slot(slot);
    for (const auto& [key, row] : tombstones) {
      if (row.wall_ms > until_ms) continue;
      const auto entry = shard.entries.find(key.text());
      if (entry != shard.entries.end()) continue;  // Somebody is about to write it.
      state.floor = std::max(state.floor, row.version);
      state.fold_seq = std::max(state.fold_seq, row.seq);
      --state.tombstones;
      --tombstones_;
      commit.batch.folded.emplace_back(slot, key.text());
    }
    if (commit.batch.folded.empty()) return Status::OK();
    commit.batch.slots.emplace_back(slot, state);
    lane_.Append(&commit);
  }
  FLAME_LOG_DEBUG(cache, "folded {} tombstones of slot {}", commit.batch.folded.size(),
                  slot);
  return lane_.Await(&commit);
}

Cache::Stats Cache::stats() const {
  Stats stats;
  for (size_t i = 0; i < Table::kShards; ++i) {
    Shard& shard = table_.shard(i);
    MutexLock lock(shard.mutex);
    for (const auto& [key, entry] : shard.entries) {
      if (entry.published == nullptr) continue;
      ++stats.resident_objects;
      stats.resident_bytes += entry.published->bytes;
    }
  }
  stats.tombstones = tombstones_;
  return stats;
}

}  // namespace flame
