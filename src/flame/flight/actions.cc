#include "flame/flight/actions.h"

#include <array>

#include <arrow/ipc/dictionary.h>
#include <arrow/util/base64.h>
#include <arrow/util/key_value_metadata.h>
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/flight/listing.h"
#include "flame/flight/reply.h"
#include "flame/flight/upload.h"
#include "flame/object/bson.h"
#include "flame/object/object_ref.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;
using Bodies = std::vector<std::string>;

constexpr int64_t kMaxRequestBytes = 64 << 20;
constexpr int64_t kUsualPage = 1000;
constexpr int64_t kMaxWaitMs = 60'000;
constexpr std::chrono::seconds kMemoryPatience{10};

/// Results that are all there.
Results Ready(Bodies bodies) {
  return [bodies = std::make_shared<Bodies>(std::move(bodies)),
          next = size_t{0}]() mutable -> Result<std::optional<std::string>> {
    if (next == bodies->size()) return std::nullopt;
    return std::move((*bodies)[next++]);
  };
}

/// The most that a client may ask for.
Status CheckCount(const char* what, int64_t count, int64_t most) {
  if (count <= most) return Status::OK();
  return MakeError(
      ErrorCode::kTooLarge,
      fmt::format("{} {} are over the limit of {} (limits.list_objects); ask for fewer "
                  "at a time",
                  count, what, most));
}

/// An error that one item of a batch is answered with.
void AddItemError(const ActionCall& call, DoorOperation operation, BsonWriter* answer,
                  const Status& status);

ObjectRef RefOf(const ActionCall& call, const Key& key, Version version) {
  return {call.options.endpoint, key.text(), version};
}

std::shared_ptr<arrow::Buffer> Slice(const ActionCall& call, std::string_view part) {
  return arrow::SliceBuffer(call.body, part.data() - call.text().data(),
                            static_cast<int64_t>(part.size()));
}

/// The structured form of an error, for actions that answer several items.
void AddError(BsonWriter* writer, const Status& status) {
  BsonWriter error;
  error.Add("code", ErrorCodeName(CodeOf(status))).Add("message", status.message());
  if (const ErrorDetail* detail = DetailOf(status)) {
    if (detail->outcome) error.Add("outcome", OutcomeName(*detail->outcome));
    if (detail->version) error.Add("version", *detail->version);
  }
  writer->AddDocument("error", error);
}

// ---------------------------------------------------------------------------------------
// The stock dialect

Result<Results> RunDelete(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(const Selection selection, Selection::Parse(call.text()));
  ARROW_RETURN_NOT_OK(call.cache->Delete(call.context, selection).status());
  return Ready({"OK"});
}

std::string JsonString(std::string_view text) {
  std::string json = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      json += '\\';
      json += static_cast<char>(c);
    } else if (c < 0x20) {
      json += fmt::format("\\u{:04x}", c);
    } else {
      json += static_cast<char>(c);
    }
  }
  return json + "\"";
}

/// `<key>:<base64>`, as clients sent before do_put existed. UPDATE wants a full key.
Result<Results> RunTextPut(ActionCall call, bool update) {
  const std::string_view text = call.text();
  const size_t colon = text.rfind(':');
  if (colon == text.npos) return InvalidError("the body must be <key>:<base64>");
  const std::string_view encoded = text.substr(colon + 1);
  const int64_t decoded = std::ssize(encoded) / 4 * 3;
  if (decoded > call.options.limits.object) {
    return MakeError(ErrorCode::kTooLarge,
                     fmt::format("{} bytes are over the limit of {} of one object "
                                 "(limits.object); split it into several",
                                 decoded, call.options.limits.object));
  }
  auto data = arrow::util::base64_decode(encoded);
  ARROW_RETURN_NOT_OK(data.ok() ? Status::OK()
                                : InvalidError("the body must be <key>:<base64>: " +
                                               data.status().message()));
  ARROW_ASSIGN_OR_RAISE(const PutTarget target, PutTarget::Parse(text.substr(0, colon)));
  if (update && target.generated) return InvalidError("UPDATE needs a full key");
  ARROW_ASSIGN_OR_RAISE(
      const WriteResult result,
      call.cache->Put(call.context, target.key,
                      Payload::Opaque({arrow::Buffer::FromString(*std::move(data))}), {},
                      target.generated));
  return Ready({fmt::format(R"({{"endpoint": {}, "key": {}, "version": {}}})",
                            JsonString(call.options.endpoint),
                            JsonString(target.key.text()), result.version)});
}
Result<Results> RunPut(ActionCall call) { return RunTextPut(std::move(call), false); }
Result<Results> RunUpdate(ActionCall call) { return RunTextPut(std::move(call), true); }

// ---------------------------------------------------------------------------------------
// The document dialect

Result<std::pair<Key, WriteResult>> WriteItem(const ActionCall& call,
                                              const BsonReader& item) {
  ARROW_ASSIGN_OR_RAISE(const std::string key, item.RequireString("key"));
  ARROW_ASSIGN_OR_RAISE(const auto op, item.String("op"));
  ARROW_ASSIGN_OR_RAISE(const auto kind, item.String("kind"));
  ARROW_ASSIGN_OR_RAISE(const auto data, item.Binary("data"));
  ARROW_ASSIGN_OR_RAISE(const auto op_id, item.Binary("op_id"));
  ARROW_ASSIGN_OR_RAISE(const auto retry, item.Bool("retry"));
  WriteOptions options;
  ARROW_ASSIGN_OR_RAISE(options.if_version, item.Int("if_version"));
  ARROW_ASSIGN_OR_RAISE(options.ttl_ms, ParseTtl(item));
  if (!data) return InvalidError("field 'data' of the item is missing");
  RequestContext context = call.context;
  context.retry = retry.value_or(false);
  if (op_id) {
    ARROW_ASSIGN_OR_RAISE(context.op_id, ParseOpId(*op_id));
  } else if (context.retry) {
    return InvalidError("field 'retry' needs an 'op_id'");
  }

  if (std::ssize(*data) > call.options.limits.object) {
    return MakeError(ErrorCode::kTooLarge,
                     fmt::format("{}: {} bytes are over the limit of {} of one object "
                                 "(limits.object); split it into several",
                                 key, data->size(), call.options.limits.object));
  }
  std::shared_ptr<const Payload> payload;
  const auto bytes = Slice(call, *data);
  if (kind.value_or("opaque") == "native") {
    auto decoded =
        DecodeIpcStream(bytes, std::min(call.options.limits.object, kMaxRequestBytes));
    if (!decoded.ok()) {
      if (IsError(decoded.status(), ErrorCode::kTooLarge)) return decoded.status();
      return InvalidError("malformed Arrow data: " + decoded.status().message());
    }
    payload = *std::move(decoded);
  } else if (kind.value_or("opaque") == "opaque") {
    payload = Payload::Opaque({bytes});
  } else {
    return InvalidError(
        fmt::format("field 'kind' is '{}'; it must be opaque or native", *kind));
  }

  const std::string verb = op.value_or("put");
  if (verb == "put") {
    ARROW_ASSIGN_OR_RAISE(PutTarget target, PutTarget::Parse(key));
    ARROW_ASSIGN_OR_RAISE(const auto result, call.cache->Put(context, target.key, payload,
                                                             options, target.generated));
    return std::pair{std::move(target.key), result};
  }
  const Kind wanted = verb == "append" ? Kind::kNative : Kind::kOpaque;
  if ((verb != "patch" && verb != "append") || payload->kind() != wanted) {
    return InvalidError(
        fmt::format("op '{}' with kind '{}': put takes both, patch opaque, append native",
                    verb, KindName(payload->kind())));
  }
  ARROW_ASSIGN_OR_RAISE(Key target, Key::Parse(key));
  ARROW_ASSIGN_OR_RAISE(const auto result,
                        call.cache->Patch(context, target, payload, options));
  return std::pair{std::move(target), result};
}

Result<Results> RunWrites(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(const BsonReader request, BsonReader::Open(call.text()));
  ARROW_ASSIGN_OR_RAISE(const auto items, request.RequireArray("items"));
  ARROW_RETURN_NOT_OK(
      CheckCount("items", std::ssize(items), call.options.limits.list_objects));
  Bodies results;
  for (const BsonReader& item : items) {
    BsonWriter answer;
    answer.AddInt32("index", static_cast<int32_t>(results.size()));
    auto written = WriteItem(call, item);
    if (written.ok()) {
      const ObjectRef ref = RefOf(call, written->first, written->second.version);
      answer.Add("endpoint", ref.endpoint)
          .Add("key", ref.key)
          .Add("version", ref.version);
    } else {
      AddItemError(call, DoorOperation::kBatchPut, &answer,
                   WithDefaultOutcome(written.status(), Outcome::kNotApplied));
    }
    results.push_back(answer.Finish());
  }
  return Ready(std::move(results));
}

/// A part of an object as one binary: opaque bytes, or an Arrow IPC stream.
Result<std::shared_ptr<arrow::Buffer>> Flatten(const Snapshot& snapshot,
                                               const Payload& payload) {
  if (payload.kind() == Kind::kOpaque) return Contiguous(payload);
  return EncodeIpcStream(*DressNative(snapshot.base->schema(), snapshot.version),
                         payload);
}

std::string_view View(const arrow::Buffer& buffer) {
  return {reinterpret_cast<const char*>(buffer.data()),
          static_cast<size_t>(buffer.size())};
}

Status AddSnapshot(const Snapshot& snapshot, const ReplyOptions& reply,
                   int64_t inline_max, BsonWriter* answer) {
  answer->AddBool("found", true)
      .Add("version", snapshot.version)
      .Add("base_version", snapshot.base_version)
      .Add("kind", KindName(snapshot.kind()));
  if (ReplyBytes(snapshot, reply) > inline_max) {
    answer->Add("reply", "stream");
    return Status::OK();
  }
  const bool incremental = IsIncremental(snapshot, reply);
  const auto patches = snapshot.PatchesAfter(incremental ? reply.known : 0);
  answer->Add("reply", incremental ? "patches" : "full");
  if (!incremental) {
    ARROW_ASSIGN_OR_RAISE(const auto base, Flatten(snapshot, *snapshot.base));
    answer->AddBinary("base", View(*base));
  }
  std::vector<std::unique_ptr<BsonWriter>> documents;
  for (const Patch* patch : patches) {
    ARROW_ASSIGN_OR_RAISE(const auto data, Flatten(snapshot, *patch->payload));
    documents.push_back(std::make_unique<BsonWriter>());
    documents.back()->Add("version", patch->version).AddBinary("data", View(*data));
  }
  answer->AddArray("patches", documents);
  return Status::OK();
}

/// Answers the items of a flame.get, one at a time.
class Reads {
 public:
  static Result<std::shared_ptr<Reads>> Open(ActionCall call) {
    ARROW_ASSIGN_OR_RAISE(const BsonReader request, BsonReader::Open(call.text()));
    ARROW_ASSIGN_OR_RAISE(auto items, request.RequireArray("items"));
    const FlightLimits& limits = call.options.limits;
    ARROW_RETURN_NOT_OK(CheckCount("items", std::ssize(items), limits.list_objects));
    ARROW_ASSIGN_OR_RAISE(const auto inline_max, request.Int("inline_max"));
    auto reads = std::make_shared<Reads>(std::move(call));
    reads->items_ = std::move(items);
    reads->inline_max_ = inline_max.value_or(kUsualInlineMax);
    reads->room_ = limits.list_bytes;
    return reads;
  }
  explicit Reads(ActionCall call) : call_(std::move(call)) {}

  Result<std::optional<std::string>> Next() {
    lease_.reset();
    if (next_ == items_.size()) return std::nullopt;
    BsonWriter answer;
    answer.AddInt32("index", static_cast<int32_t>(next_));
    BsonWriter failed;
    failed.AddInt32("index", static_cast<int32_t>(next_));
    const Status status = Read(items_[next_++], &answer);
    if (!status.ok()) AddItemError(call_, DoorOperation::kBatchGet, &failed, status);
    std::string text = (status.ok() ? answer : failed).Finish();
    room_ = std::max<int64_t>(room_ - std::ssize(text), 0);
    return text;
  }

 private:
  Status Read(const BsonReader& item, BsonWriter* answer) {
    ARROW_ASSIGN_OR_RAISE(const std::string text, item.RequireString("key"));
    ARROW_ASSIGN_OR_RAISE(const auto known, item.Int("known"));
    ARROW_ASSIGN_OR_RAISE(const Key key, Key::Parse(text));
    const ReplyOptions reply{known.value_or(0), /*document=*/true, {}};
    // The client takes all of them as one: together they stay within a page.
    const int64_t inline_max = std::min(inline_max_, room_);
    ARROW_ASSIGN_OR_RAISE(
        ReplyLeases::Held held,
        call_.replies->Read(
            // Items are loaded one after the other: at most one per call is in memory
            // before there is room for it, and small ones are looked up only once.
            {.to_load = [] { return 0; },
             .get = [&] { return call_.cache->Get(call_.context, key, reply.known); },
             .size =
                 [&](const Snapshot& found) {
                   const int64_t bytes = ReplyBytes(found, reply);
                   return bytes > inline_max ? 0 : bytes;
                 },
             .cancelled = call_.context.cancelled}));
    if (std::holds_alternative<Absent>(held.got)) {
      answer->AddBool("found", false);
    } else if (const auto* unmodified = std::get_if<NotModified>(&held.got)) {
      answer->AddBool("found", true)
          .Add("version", unmodified->version)
          .Add("kind", KindName(unmodified->kind))
          .Add("reply", "not-modified");
    } else {
      lease_ = std::move(held.lease);
      const auto& snapshot = *std::get<std::shared_ptr<const Snapshot>>(held.got);
      const bool incremental = IsIncremental(snapshot, reply);
      if (incremental) call_.metrics->incremental.Add();
      return AddSnapshot(snapshot, reply, inline_max, answer);
    }
    return Status::OK();
  }

  static constexpr int64_t kUsualInlineMax = 64 * 1024;

  const ActionCall call_;
  std::vector<BsonReader> items_;  // Parts of call_'s body.
  int64_t inline_max_ = 0;
  int64_t room_ = 0;
  size_t next_ = 0;
  std::shared_ptr<const void> lease_;  // Of the last result, which is on its way.
};

Result<Results> RunReads(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(auto reads, Reads::Open(std::move(call)));
  return [reads = std::move(reads)] { return reads->Next(); };
}

Result<std::string> StatDocument(const ObjectStat& stat, bool with_schema) {
  BsonWriter document;
  document.AddBool("found", true)
      .Add("key", stat.key.text())
      .Add("version", stat.version)
      .Add("base_version", stat.base_version)
      .Add("kind", KindName(stat.kind))
      .Add("bytes", stat.bytes)
      .AddInt32("patches", stat.patch_count)
      .Add("modified_ms", stat.modified_ms)
      .Add("expires_at_ms", stat.expires_at_ms);
  if (stat.schema != nullptr) {
    ARROW_ASSIGN_OR_RAISE(const auto schema, DecodeSchema(stat.schema));
    if (schema->metadata() != nullptr) {
      const auto type = schema->metadata()->Get(kLogicalTypeKey);
      if (type.ok()) document.Add("logical_type", std::string_view(*type));
    }
    if (with_schema) document.AddBinary("schema", View(*stat.schema));
  }
  return document.Finish();
}

Result<Results> RunStat(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(const BsonReader request, BsonReader::Open(call.text()));
  ARROW_ASSIGN_OR_RAISE(const std::string text, request.RequireString("key"));
  ARROW_ASSIGN_OR_RAISE(const Key key, Key::Parse(text));
  ARROW_ASSIGN_OR_RAISE(const auto stat, call.cache->Stat(call.context, key));
  if (!stat) return Ready({BsonWriter().AddBool("found", false).Finish()});
  ARROW_ASSIGN_OR_RAISE(std::string document, StatDocument(*stat, /*with_schema=*/true));
  return Ready({std::move(document)});
}

Result<int64_t> PageSize(const ActionCall& call, const BsonReader& request) {
  ARROW_ASSIGN_OR_RAISE(const auto limit, request.Int("limit"));
  const int64_t most = call.options.limits.list_objects;
  if (limit && *limit < 1)
    return InvalidError(fmt::format("field 'limit' is {}; it must be 1 or more", *limit));
  if (limit) ARROW_RETURN_NOT_OK(CheckCount("entries in a page", *limit, most));
  return limit.value_or(std::min(kUsualPage, most));
}

Result<Results> RunList(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(const BsonReader request, BsonReader::Open(call.text()));
  ARROW_ASSIGN_OR_RAISE(const auto prefix, request.String("prefix"));
  ARROW_ASSIGN_OR_RAISE(const auto after, request.String("after"));
  ARROW_ASSIGN_OR_RAISE(const int64_t limit, PageSize(call, request));
  return [lister = std::make_shared<Lister>(call.cache, call.context, prefix.value_or(""),
                                            after.value_or("")),
          left = limit, room = call.options.limits.list_bytes,
          ended = false]() mutable -> Result<std::optional<std::string>> {
    if (ended) return std::nullopt;
    std::optional<ObjectStat> stat;
    // One at least, however little room there is: every page brings its reader forward.
    if (left > 0 && room > 0) {
      ARROW_ASSIGN_OR_RAISE(stat, lister->Next());
      if (stat) {
        ARROW_ASSIGN_OR_RAISE(std::string document,
                              StatDocument(*stat, /*with_schema=*/false));
        --left;
        room -= std::ssize(document);
        return document;
      }
    }
    ended = true;
    return BsonWriter().AddBool("end", left > 0 && room > 0).Finish();
  };
}

Result<Results> RunCountedDelete(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(const BsonReader request, BsonReader::Open(call.text()));
  ARROW_ASSIGN_OR_RAISE(const std::string prefix, request.RequireString("prefix"));
  ARROW_ASSIGN_OR_RAISE(const Selection selection, Selection::Parse(prefix));
  ARROW_ASSIGN_OR_RAISE(const auto op_id, request.Binary("op_id"));
  ARROW_ASSIGN_OR_RAISE(const auto retry, request.Bool("retry"));
  WriteOptions options;
  ARROW_ASSIGN_OR_RAISE(options.if_version, request.Int("if_version"));
  // A prefix delete is idempotent by nature; only a single key needs to know its retries.
  if (op_id && selection.key) {
    ARROW_ASSIGN_OR_RAISE(call.context.op_id, ParseOpId(*op_id));
    call.context.retry = retry.value_or(false);
  }
  ARROW_ASSIGN_OR_RAISE(const int64_t deleted,
                        call.cache->Delete(call.context, selection, options));
  return Ready({BsonWriter().Add("deleted", deleted).Finish()});
}

std::string EventDocument(std::string_view event, const std::string& key, Version version,
                          const char* kind) {
  return BsonWriter()
      .Add("event", event)
      .Add("key", key)
      .Add("version", version)
      .Add("kind", kind)
      .Finish();
}

Result<Results> RunFeed(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(const BsonReader request, BsonReader::Open(call.text()));
  ARROW_ASSIGN_OR_RAISE(const auto cursor, request.Binary("cursor"));
  ARROW_ASSIGN_OR_RAISE(const auto prefix, request.String("prefix"));
  ARROW_ASSIGN_OR_RAISE(const int64_t limit, PageSize(call, request));
  ARROW_ASSIGN_OR_RAISE(const auto wait_ms, request.Int("wait_ms"));
  const auto wait =
      std::chrono::milliseconds(std::clamp<int64_t>(wait_ms.value_or(0), 0, kMaxWaitMs));
  ARROW_ASSIGN_OR_RAISE(auto page,
                        call.cache->ReadFeed(call.context, cursor.value_or(""),
                                             prefix.value_or(""), limit, wait));
  const std::string last = BsonWriter().AddBinary("cursor", page.cursor).Finish();
  if (!page.gap) {
    Bodies results;
    for (const CommitEvent& event : page.events) {
      results.push_back(EventDocument(NameOf(event.type), event.key.text(), event.version,
                                      KindName(event.kind)));
    }
    results.push_back(last);
    return Ready(std::move(results));
  }
  // The cursor is from before the state is read, however long that takes.
  enum class Step { kGap, kStates, kEnd };
  return
      [lister = std::make_shared<Lister>(call.cache, call.context, prefix.value_or("")),
       last, step = Step::kGap]() mutable -> Result<std::optional<std::string>> {
        if (step == Step::kGap) {
          step = Step::kStates;
          return EventDocument("gap", "", 0, "");
        }
        if (step == Step::kEnd) return std::nullopt;
        ARROW_ASSIGN_OR_RAISE(const auto stat, lister->Next());
        if (stat) {
          return EventDocument("state", stat->key.text(), stat->version,
                               KindName(stat->kind));
        }
        step = Step::kEnd;
        return last;
      };
}

Result<Results> RunInfo(ActionCall call) {
  return Ready({BsonWriter()
                    .Add("program", "flame-object-cache")
                    .Add("version", call.options.version)
                    .Add("endpoint", call.options.endpoint)
                    .Add("store_id", call.options.store_id)
                    .Add("storage", call.options.storage)
                    .Add("started_ms", call.options.started_ms)
                    .Finish()});
}

struct ActionRow {
  const char* type;
  const char* description;
  Result<Results> (*run)(ActionCall call);
  DoorOperation operation;
};

constexpr std::array kActions{
    ActionRow{"DELETE", "Delete objects. Body: a key, a prefix app/session, or app/*.",
              RunDelete, DoorOperation::kDelete},
    ActionRow{"PUT", "Put an object. Body: <key or prefix>:<base64>. Older clients.",
              RunPut, DoorOperation::kPut},
    ActionRow{"UPDATE", "Replace an object. Body: <key>:<base64>. Older clients.",
              RunUpdate, DoorOperation::kPut},
    ActionRow{"flame.put", "Write small objects. BSON {items}.", RunWrites,
              DoorOperation::kBatchPut},
    ActionRow{"flame.get", "Read small objects, conditionally. BSON {items, inline_max}.",
              RunReads, DoorOperation::kBatchGet},
    ActionRow{"flame.stat", "What is known of an object. BSON {key}.", RunStat,
              DoorOperation::kStat},
    ActionRow{"flame.list", "Objects in key order. BSON {prefix, after, limit}.", RunList,
              DoorOperation::kList},
    ActionRow{"flame.delete", "Delete and count. BSON {prefix, if_version}.",
              RunCountedDelete, DoorOperation::kDelete},
    ActionRow{"flame.feed", "What changed since. BSON {cursor, prefix, limit, wait_ms}.",
              RunFeed, DoorOperation::kFeed},
    ActionRow{"flame.info", "About this server.", RunInfo, DoorOperation::kInfo},
};

const ActionRow* FindAction(std::string_view type) {
  const auto row = std::find_if(kActions.begin(), kActions.end(),
                                [&](const ActionRow& r) { return type == r.type; });
  return row == kActions.end() ? nullptr : &*row;
}

void AddItemError(const ActionCall& call, DoorOperation operation, BsonWriter* answer,
                  const Status& status) {
  call.metrics->of(operation).errors[static_cast<size_t>(CodeOf(status))].Add();
  AddError(answer, status);
}

}  // namespace

DoorOperation OperationOf(const std::string& type) {
  const ActionRow* row = FindAction(type);
  return row == nullptr ? DoorOperation::kUnknown : row->operation;
}

Result<Results> RunAction(const std::string& type, ActionCall call) {
  const ActionRow* row = FindAction(type);
  if (row == nullptr) {
    std::string known;
    for (const ActionRow& there : kActions) known += fmt::format(" {}", there.type);
    return InvalidError(
        fmt::format("unknown action '{}'; there are:{}", type.substr(0, 100), known));
  }
  if (call.body->size() > kMaxRequestBytes) {
    return MakeError(ErrorCode::kTooLarge,
                     fmt::format("the request has {} bytes, the most is {}; use do_put",
                                 call.body->size(), kMaxRequestBytes));
  }
  // Decoded, it is there twice. A batch of reads keeps it while the client takes the
  // results: that must not keep others from writing.
  const int64_t bytes = 2 * call.body->size();
  const auto& cancelled = call.context.cancelled;
  ARROW_ASSIGN_OR_RAISE(auto lease,
                        row->operation == DoorOperation::kBatchGet
                            ? call.replies->Acquire(bytes, cancelled)
                            : call.budget->Acquire(bytes, kMemoryPatience, cancelled));
  call.lease = std::make_shared<const Budget::Lease>(std::move(lease));
  return row->run(std::move(call));
}

std::vector<arrow::flight::ActionType> KnownActions() {
  std::vector<arrow::flight::ActionType> types;
  for (const ActionRow& row : kActions) types.emplace_back(row.type, row.description);
  return types;
}

}  // namespace flame
