#include "flame/flight/actions.h"

#include <array>

#include <arrow/ipc/dictionary.h>
#include <arrow/util/base64.h>
#include <arrow/util/key_value_metadata.h>
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/flight/upload.h"
#include "flame/object/bson.h"
#include "flame/object/object_ref.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;
using Bodies = std::vector<std::string>;

constexpr int64_t kMaxRequestBytes = 64 << 20;
constexpr int64_t kMaxPage = 100'000;
constexpr int64_t kMaxWaitMs = 60'000;

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

Result<Bodies> RunDelete(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(const Selection selection, Selection::Parse(call.text()));
  ARROW_RETURN_NOT_OK(call.cache->Delete(call.context, selection).status());
  return Bodies{"OK"};
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
Result<Bodies> RunTextPut(ActionCall call, bool update) {
  const std::string_view text = call.text();
  const size_t colon = text.rfind(':');
  if (colon == text.npos) return InvalidError("the body must be <key>:<base64>");
  const std::string_view encoded = text.substr(colon + 1);
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
  return Bodies{fmt::format(R"({{"endpoint": {}, "key": {}, "version": {}}})",
                            JsonString(call.options.endpoint),
                            JsonString(target.key.text()), result.version)};
}
Result<Bodies> RunPut(ActionCall call) { return RunTextPut(std::move(call), false); }
Result<Bodies> RunUpdate(ActionCall call) { return RunTextPut(std::move(call), true); }

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

  std::shared_ptr<const Payload> payload;
  const auto bytes = Slice(call, *data);
  if (kind.value_or("opaque") == "native") {
    auto decoded = DecodeIpcStream(bytes, kMaxRequestBytes);
    if (IsError(decoded.status(), ErrorCode::kTooLarge)) return decoded.status();
    if (!decoded.ok()) {
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

Result<Bodies> RunWrites(ActionCall call) {
  if (call.body->size() > kMaxRequestBytes) {
    return MakeError(ErrorCode::kTooLarge,
                     fmt::format("the request has {} bytes, the most is {}; use do_put",
                                 call.body->size(), kMaxRequestBytes));
  }
  ARROW_ASSIGN_OR_RAISE(const BsonReader request, BsonReader::Open(call.text()));
  ARROW_ASSIGN_OR_RAISE(const auto items, request.RequireArray("items"));
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
      AddError(&answer, WithDefaultOutcome(written.status(), Outcome::kNotApplied));
    }
    results.push_back(answer.Finish());
  }
  return results;
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

Status AddSnapshot(const Snapshot& snapshot, Version known, int64_t inline_max,
                   BsonWriter* answer) {
  answer->AddBool("found", true)
      .Add("version", snapshot.version)
      .Add("base_version", snapshot.base_version)
      .Add("kind", KindName(snapshot.kind()));
  const bool incremental =
      known != 0 && snapshot.base_version <= known && known < snapshot.version;
  const auto patches = snapshot.PatchesAfter(incremental ? known : 0);
  int64_t bytes = incremental ? 0 : snapshot.base->size();
  for (const Patch* patch : patches) bytes += patch->payload->size();
  if (bytes > inline_max) {
    answer->Add("reply", "stream");
    return Status::OK();
  }
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

Status ReadItem(const ActionCall& call, const BsonReader& item, int64_t inline_max,
                BsonWriter* answer) {
  ARROW_ASSIGN_OR_RAISE(const std::string text, item.RequireString("key"));
  ARROW_ASSIGN_OR_RAISE(const auto known, item.Int("known"));
  ARROW_ASSIGN_OR_RAISE(const Key key, Key::Parse(text));
  ARROW_ASSIGN_OR_RAISE(const GetResult got,
                        call.cache->Get(call.context, key, known.value_or(0)));
  if (std::holds_alternative<Absent>(got)) {
    answer->AddBool("found", false);
  } else if (const auto* unmodified = std::get_if<NotModified>(&got)) {
    answer->AddBool("found", true)
        .Add("version", unmodified->version)
        .Add("kind", KindName(unmodified->kind))
        .Add("reply", "not-modified");
  } else {
    return AddSnapshot(*std::get<std::shared_ptr<const Snapshot>>(got), known.value_or(0),
                       inline_max, answer);
  }
  return Status::OK();
}

Result<Bodies> RunReads(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(const BsonReader request, BsonReader::Open(call.text()));
  ARROW_ASSIGN_OR_RAISE(const auto items, request.RequireArray("items"));
  ARROW_ASSIGN_OR_RAISE(const auto inline_max, request.Int("inline_max"));
  // All replies of one call are in memory at once: together they stay below the most that
  // one may have.
  int64_t room = kMaxRequestBytes;
  Bodies results;
  for (const BsonReader& item : items) {
    auto answer = std::make_unique<BsonWriter>();
    answer->AddInt32("index", static_cast<int32_t>(results.size()));
    const Status status = ReadItem(
        call, item, std::min(inline_max.value_or(64 * 1024), room), answer.get());
    if (!status.ok()) {
      answer = std::make_unique<BsonWriter>();
      answer->AddInt32("index", static_cast<int32_t>(results.size()));
      AddError(answer.get(), status);
    }
    results.push_back(answer->Finish());
    room = std::max<int64_t>(room - std::ssize(results.back()), 0);
  }
  return results;
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

Result<Bodies> RunStat(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(const BsonReader request, BsonReader::Open(call.text()));
  ARROW_ASSIGN_OR_RAISE(const std::string text, request.RequireString("key"));
  ARROW_ASSIGN_OR_RAISE(const Key key, Key::Parse(text));
  ARROW_ASSIGN_OR_RAISE(const auto stat, call.cache->Stat(call.context, key));
  if (!stat) return Bodies{BsonWriter().AddBool("found", false).Finish()};
  ARROW_ASSIGN_OR_RAISE(std::string document, StatDocument(*stat, /*with_schema=*/true));
  return Bodies{std::move(document)};
}

Result<int64_t> PageSize(const BsonReader& request) {
  ARROW_ASSIGN_OR_RAISE(const auto limit, request.Int("limit"));
  if (limit && (*limit < 1 || *limit > kMaxPage)) {
    return InvalidError(
        fmt::format("field 'limit' is {}; it must be 1 to {}", *limit, kMaxPage));
  }
  return limit.value_or(1000);
}

Result<Bodies> RunList(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(const BsonReader request, BsonReader::Open(call.text()));
  ARROW_ASSIGN_OR_RAISE(const auto prefix, request.String("prefix"));
  ARROW_ASSIGN_OR_RAISE(const auto after, request.String("after"));
  ARROW_ASSIGN_OR_RAISE(const int64_t limit, PageSize(request));
  ARROW_ASSIGN_OR_RAISE(
      const auto stats,
      call.cache->List(call.context, prefix.value_or(""), after.value_or(""), limit));
  Bodies results;
  for (const ObjectStat& stat : stats) {
    ARROW_ASSIGN_OR_RAISE(std::string document,
                          StatDocument(stat, /*with_schema=*/false));
    results.push_back(std::move(document));
  }
  results.push_back(BsonWriter().AddBool("end", std::ssize(stats) < limit).Finish());
  return results;
}

Result<Bodies> RunCountedDelete(ActionCall call) {
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
  return Bodies{BsonWriter().Add("deleted", deleted).Finish()};
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

Result<Bodies> RunFeed(ActionCall call) {
  ARROW_ASSIGN_OR_RAISE(const BsonReader request, BsonReader::Open(call.text()));
  ARROW_ASSIGN_OR_RAISE(const auto cursor, request.Binary("cursor"));
  ARROW_ASSIGN_OR_RAISE(const auto prefix, request.String("prefix"));
  ARROW_ASSIGN_OR_RAISE(const int64_t limit, PageSize(request));
  ARROW_ASSIGN_OR_RAISE(const auto wait_ms, request.Int("wait_ms"));
  const auto wait =
      std::chrono::milliseconds(std::clamp<int64_t>(wait_ms.value_or(0), 0, kMaxWaitMs));
  ARROW_ASSIGN_OR_RAISE(const auto page,
                        call.cache->ReadFeed(call.context, cursor.value_or(""),
                                             prefix.value_or(""), limit, wait));
  Bodies results;
  if (page.gap) {
    results.push_back(EventDocument("gap", "", 0, ""));
    std::string after;
    while (true) {
      ARROW_ASSIGN_OR_RAISE(
          const auto stats,
          call.cache->List(call.context, prefix.value_or(""), after, /*limit=*/1000));
      if (stats.empty()) break;
      for (const ObjectStat& stat : stats) {
        results.push_back(
            EventDocument("state", stat.key.text(), stat.version, KindName(stat.kind)));
      }
      after = stats.back().key.text();
    }
  }
  for (const CommitEvent& event : page.events) {
    results.push_back(EventDocument(NameOf(event.type), event.key.text(), event.version,
                                    KindName(event.kind)));
  }
  results.push_back(BsonWriter().AddBinary("cursor", page.cursor).Finish());
  return results;
}

Result<Bodies> RunInfo(ActionCall call) {
  return Bodies{BsonWriter()
                    .Add("program", "flame-object-cache")
                    .Add("version", call.options.version)
                    .Add("endpoint", call.options.endpoint)
                    .Add("store_id", call.options.store_id)
                    .Add("storage", call.options.storage)
                    .Add("started_ms", call.options.started_ms)
                    .Finish()};
}

struct ActionRow {
  const char* type;
  const char* description;
  Result<Bodies> (*run)(ActionCall call);
};

constexpr std::array kActions{
    ActionRow{"DELETE", "Delete objects. Body: a key, a prefix app/session, or app/*.",
              RunDelete},
    ActionRow{"PUT", "Put an object. Body: <key or prefix>:<base64>. Older clients.",
              RunPut},
    ActionRow{"UPDATE", "Replace an object. Body: <key>:<base64>. Older clients.",
              RunUpdate},
    ActionRow{"flame.put", "Write small objects. BSON {items}.", RunWrites},
    ActionRow{"flame.get", "Read small objects, conditionally. BSON {items, inline_max}.",
              RunReads},
    ActionRow{"flame.stat", "What is known of an object. BSON {key}.", RunStat},
    ActionRow{"flame.list", "Objects in key order. BSON {prefix, after, limit}.",
              RunList},
    ActionRow{"flame.delete", "Delete and count. BSON {prefix, if_version}.",
              RunCountedDelete},
    ActionRow{"flame.feed", "What changed since. BSON {cursor, prefix, limit, wait_ms}.",
              RunFeed},
    ActionRow{"flame.info", "About this server.", RunInfo},
};

}  // namespace

Result<Bodies> RunAction(const std::string& type, ActionCall call) {
  for (const ActionRow& row : kActions) {
    if (type == row.type) return row.run(std::move(call));
  }
  std::string known;
  for (const ActionRow& row : kActions) known += fmt::format(" {}", row.type);
  return InvalidError(fmt::format("unknown action '{}'; there are:{}", type, known));
}

std::vector<arrow::flight::ActionType> KnownActions() {
  std::vector<arrow::flight::ActionType> types;
  for (const ActionRow& row : kActions) types.emplace_back(row.type, row.description);
  return types;
}

}  // namespace flame
