#include "flame/flight/service.h"

#include <arrow/ipc/dictionary.h>
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/flight/actions.h"
#include "flame/flight/errors.h"
#include "flame/flight/reply.h"
#include "flame/flight/upload.h"
#include "flame/object/bson.h"
#include "flame/object/object_ref.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;
using arrow::flight::FlightDescriptor;
using arrow::flight::FlightEndpoint;
using arrow::flight::FlightInfo;
using arrow::flight::Location;
using arrow::flight::ServerCallContext;

constexpr int64_t kListPage = 256;

RequestContext ContextOf(const ServerCallContext& call) {
  RequestContext context;
  context.principal = call.peer_identity();
  context.cancelled = [&call] { return call.is_cancelled(); };
  return context;
}

/// Every call ends here: translated for the client, and logged once.
Status Finish(std::string_view call, std::string_view what, const Status& status) {
  if (status.ok()) {
    FLAME_LOG_DEBUG(flight, "{} {}: ok", call, what);
    return status;
  }
  const ErrorCode code = CodeOf(status);
  // Of a disk that refuses writes, the store has logged one line.
  const ErrorDetail* detail = DetailOf(status);
  const bool is_write = detail != nullptr && detail->outcome;
  const bool ours = code == ErrorCode::kCorrupt || (code == ErrorCode::kIo && !is_write);
  FLAME_LOG_AT(flight, ours ? spdlog::level::err : spdlog::level::debug, "{} {}: {}",
               call, what, status.ToString());
  return ToFlight(status);
}

struct GetRequest {
  Key key;
  ReplyOptions reply;
  // A text ticket with something after the last `:` that is no version.
  bool bad_suffix = false;
};

Result<GetRequest> ParseTicket(std::string_view ticket) {
  if (BsonReader::LooksLikeOne(ticket)) {
    ARROW_ASSIGN_OR_RAISE(const BsonReader document, BsonReader::Open(ticket));
    ARROW_ASSIGN_OR_RAISE(const std::string text, document.RequireString("key"));
    ARROW_ASSIGN_OR_RAISE(const auto known, document.Int("known"));
    ARROW_ASSIGN_OR_RAISE(const auto compression, document.String("compression"));
    ARROW_ASSIGN_OR_RAISE(Key key, Key::Parse(text));
    GetRequest request{std::move(key), {known.value_or(0), /*document=*/true, {}}};
    if (request.reply.known < 0) return InvalidError("field 'known' is negative");
    if (compression) {
      if (*compression == "zstd") {
        request.reply.compression = arrow::Compression::ZSTD;
      } else if (*compression == "lz4") {
        request.reply.compression = arrow::Compression::LZ4_FRAME;
      } else {
        return InvalidError(fmt::format(
            "field 'compression' is '{}'; it must be zstd or lz4", *compression));
      }
    }
    return request;
  }
  ARROW_ASSIGN_OR_RAISE(TextTicket parsed, TextTicket::Parse(ticket));
  const bool whole = parsed.key.text().size() == ticket.size();
  GetRequest request{std::move(parsed.key), {parsed.known, false, {}}};
  request.bad_suffix = whole && request.key.object().find(':') != std::string_view::npos;
  return request;
}

std::string PathText(const FlightDescriptor& descriptor) {
  std::string text;
  for (const std::string& part : descriptor.path)
    text += (text.empty() ? "" : "/") + part;
  return text;
}

Result<FlightInfo> InfoOf(const FlightDescriptor& descriptor, const Key& key,
                          const std::string& endpoint, const ObjectStat* stat) {
  ARROW_ASSIGN_OR_RAISE(const Location location, Location::Parse(endpoint));
  FlightInfo::Data data;
  data.descriptor = descriptor;
  data.endpoints = {FlightEndpoint{{TextTicket::For(key)}, {location}, std::nullopt, {}}};
  data.total_records = -1;
  data.total_bytes = stat != nullptr ? stat->bytes : -1;
  data.ordered = false;
  if (stat != nullptr && stat->schema != nullptr) data.schema = stat->schema->ToString();
  return FlightInfo(std::move(data));
}

/// Pages through the cache as the client reads; nothing is held between pages.
class ObjectListing final : public arrow::flight::FlightListing {
 public:
  ObjectListing(Cache* cache, RequestContext context, std::string prefix,
                std::string endpoint)
      : cache_(cache),
        context_(std::move(context)),
        prefix_(std::move(prefix)),
        endpoint_(std::move(endpoint)) {}

  Result<std::unique_ptr<FlightInfo>> Next() override {
    if (next_ == page_.size()) {
      auto page = cache_->List(context_, prefix_, after_, kListPage);
      ARROW_RETURN_NOT_OK(Finish("list_flights", prefix_, page.status()));
      page_ = *std::move(page);
      next_ = 0;
      if (page_.empty()) return nullptr;
      after_ = page_.back().key.text();
    }
    const ObjectStat& stat = page_[next_++];
    const auto descriptor = FlightDescriptor::Path({stat.key.text()});
    ARROW_ASSIGN_OR_RAISE(FlightInfo info,
                          InfoOf(descriptor, stat.key, endpoint_, &stat));
    return std::make_unique<FlightInfo>(std::move(info));
  }

 private:
  Cache* const cache_;
  const RequestContext context_;
  const std::string prefix_;
  const std::string endpoint_;
  std::vector<ObjectStat> page_;
  size_t next_ = 0;
  std::string after_;
};

}  // namespace

FlightService::FlightService(Cache* cache, Budget* budget, FlightServiceOptions options)
    : cache_(cache), budget_(budget), options_(std::move(options)) {}

FlightService::~FlightService() = default;

Status FlightService::DoGet(const ServerCallContext& call,
                            const arrow::flight::Ticket& request,
                            std::unique_ptr<arrow::flight::FlightDataStream>* stream) {
  std::string shown = "(malformed ticket)";
  auto answer = [&]() -> Status {
    ARROW_ASSIGN_OR_RAISE(const GetRequest get, ParseTicket(request.ticket));
    shown = fmt::format("{} known={}", get.key.text(), get.reply.known);
    ARROW_ASSIGN_OR_RAISE(const GetResult got,
                          cache_->Get(ContextOf(call), get.key, get.reply.known));
    if (std::holds_alternative<Absent>(got)) {
      if (get.bad_suffix) {
        return InvalidError(
            fmt::format("ticket '{}': no such object, and what follows ':' is no version",
                        get.key.text()));
      }
      return MakeError(ErrorCode::kNotFound,
                       fmt::format("{}: no such object", get.key.text()));
    }
    if (const auto* unmodified = std::get_if<NotModified>(&got)) {
      *stream = MakeNotModifiedReply(unmodified->version, unmodified->kind, get.reply);
      return Status::OK();
    }
    ARROW_ASSIGN_OR_RAISE(
        *stream, MakeReply(std::get<std::shared_ptr<const Snapshot>>(got), get.reply));
    return Status::OK();
  };
  const Status status = answer();
  return Finish("do_get", shown, status);
}

Status FlightService::Put(const ServerCallContext& call,
                          arrow::flight::FlightMessageReader* reader,
                          arrow::flight::FlightMetadataWriter* writer,
                          std::string* shown) {
  ARROW_ASSIGN_OR_RAISE(const PutRequest request,
                        PutRequest::Parse(reader->descriptor()));
  *shown = request.target.key.text();
  RequestContext context = ContextOf(call);
  context.op_id = request.op_id;
  context.retry = request.retry;
  std::vector<Budget::Lease> leases;
  ARROW_ASSIGN_OR_RAISE(auto payload,
                        ReadUpload(request, reader, budget_, context.cancelled, &leases));
  const Key& key = request.target.key;
  WriteOptions options;
  options.if_version = request.if_version;
  ARROW_ASSIGN_OR_RAISE(const WriteResult result,
                        request.op == PutRequest::Op::kPut
                            ? cache_->Put(context, key, std::move(payload), options,
                                          request.target.generated)
                            : cache_->Patch(context, key, std::move(payload), options));
  const ObjectRef ref{options_.endpoint, key.text(), result.version};
  return writer->WriteMetadata(*arrow::Buffer::FromString(ref.Encode()));
}

Status FlightService::DoPut(const ServerCallContext& call,
                            std::unique_ptr<arrow::flight::FlightMessageReader> reader,
                            std::unique_ptr<arrow::flight::FlightMetadataWriter> writer) {
  std::string shown = "(malformed descriptor)";
  const Status status = Put(call, reader.get(), writer.get(), &shown);
  return Finish("do_put", shown, WithDefaultOutcome(status, Outcome::kNotApplied));
}

Status FlightService::DoAction(const ServerCallContext& call,
                               const arrow::flight::Action& action,
                               std::unique_ptr<arrow::flight::ResultStream>* result) {
  auto body =
      action.body != nullptr ? action.body : std::make_shared<arrow::Buffer>(nullptr, 0);
  auto bodies =
      RunAction(action.type, {cache_, options_, ContextOf(call), std::move(body)});
  ARROW_RETURN_NOT_OK(Finish("do_action", action.type, bodies.status()));
  std::vector<arrow::flight::Result> results;
  for (std::string& text : *bodies) {
    results.push_back({arrow::Buffer::FromString(std::move(text))});
  }
  *result = std::make_unique<arrow::flight::SimpleResultStream>(std::move(results));
  return Status::OK();
}

Status FlightService::ListActions(const ServerCallContext&,
                                  std::vector<arrow::flight::ActionType>* actions) {
  *actions = KnownActions();
  return Status::OK();
}

Status FlightService::GetFlightInfo(const ServerCallContext& call,
                                    const FlightDescriptor& request,
                                    std::unique_ptr<FlightInfo>* info) {
  auto answer = [&]() -> Status {
    if (request.type != FlightDescriptor::PATH || request.path.empty()) {
      return InvalidError("get_flight_info needs a path descriptor with a key");
    }
    ARROW_ASSIGN_OR_RAISE(const Key key, Key::Parse(PathText(request)));
    // Clients in local mode ask where an object will be served before the server has seen
    // its file.
    ARROW_ASSIGN_OR_RAISE(const auto stat, cache_->Stat(ContextOf(call), key));
    const auto descriptor = FlightDescriptor::Path({key.text()});
    ARROW_ASSIGN_OR_RAISE(FlightInfo made, InfoOf(descriptor, key, options_.endpoint,
                                                  stat ? &*stat : nullptr));
    *info = std::make_unique<FlightInfo>(std::move(made));
    return Status::OK();
  };
  return Finish("get_flight_info", PathText(request), answer());
}

Status FlightService::GetSchema(const ServerCallContext& call,
                                const FlightDescriptor& request,
                                std::unique_ptr<arrow::flight::SchemaResult>* schema) {
  auto answer = [&]() -> Status {
    if (request.type != FlightDescriptor::PATH || request.path.empty()) {
      return InvalidError("get_schema needs a path descriptor with a key");
    }
    ARROW_ASSIGN_OR_RAISE(const Key key, Key::Parse(PathText(request)));
    ARROW_ASSIGN_OR_RAISE(const auto stat, cache_->Stat(ContextOf(call), key));
    if (!stat) {
      return MakeError(ErrorCode::kNotFound,
                       fmt::format("{}: no such object", key.text()));
    }
    auto object_schema = OpaqueReplySchema();
    if (stat->schema != nullptr) {
      ARROW_ASSIGN_OR_RAISE(object_schema, DecodeSchema(stat->schema));
    }
    ARROW_ASSIGN_OR_RAISE(*schema, arrow::flight::SchemaResult::Make(*object_schema));
    return Status::OK();
  };
  return Finish("get_schema", PathText(request), answer());
}

Status FlightService::ListFlights(
    const ServerCallContext& call, const arrow::flight::Criteria* criteria,
    std::unique_ptr<arrow::flight::FlightListing>* listings) {
  *listings = std::make_unique<ObjectListing>(
      cache_, ContextOf(call), criteria != nullptr ? criteria->expression : std::string(),
      options_.endpoint);
  return Status::OK();
}

}  // namespace flame
