#include "flame/flight/service.h"

#include <arrow/ipc/dictionary.h>
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/flight/actions.h"
#include "flame/flight/call.h"
#include "flame/flight/errors.h"
#include "flame/flight/listing.h"
#include "flame/flight/reply.h"
#include "flame/flight/ticket.h"
#include "flame/flight/upload.h"
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

Result<Key> KeyOf(const char* call, const FlightDescriptor& descriptor) {
  if (descriptor.type != FlightDescriptor::PATH || descriptor.path.empty())
    return InvalidError(fmt::format("{} needs a path descriptor with a key", call));
  std::string text;
  for (const std::string& part : descriptor.path)
    text += (text.empty() ? "" : "/") + part;
  return Key::Parse(text);
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

/// One FlightInfo per object, as the client reads.
class ObjectListing final : public arrow::flight::FlightListing {
 public:
  ObjectListing(Lister lister, std::string endpoint, std::unique_ptr<Call> call)
      : call_(std::move(call)),
        endpoint_(std::move(endpoint)),
        lister_(std::move(lister)) {
    call_->StartStream();
  }

  Result<std::unique_ptr<FlightInfo>> Next() override {
    auto info = Make();
    if (!info.ok() || *info == nullptr) ARROW_RETURN_NOT_OK(call_->Finish(info.status()));
    return info;
  }

 private:
  Result<std::unique_ptr<FlightInfo>> Make() {
    ARROW_ASSIGN_OR_RAISE(const auto stat, lister_.Next());
    if (!stat) return nullptr;
    const auto descriptor = FlightDescriptor::Path({stat->key.text()});
    ARROW_ASSIGN_OR_RAISE(FlightInfo info,
                          InfoOf(descriptor, stat->key, endpoint_, &*stat));
    call_->counters().sent_bytes.Add(std::ssize(stat->key.text()) +
                                     std::ssize(info.serialized_schema()));
    return std::make_unique<FlightInfo>(std::move(info));
  }

  const std::unique_ptr<Call> call_;
  const std::string endpoint_;
  Lister lister_;
};

}  // namespace

FlightService::FlightService(Cache* cache, Budget* budget, FlightShared* shared,
                             FlightServiceOptions options)
    : cache_(cache),
      budget_(budget),
      metrics_(shared->metrics),
      replies_(shared->replies),
      options_(std::move(options)) {
  metrics_.running_limit = options_.limits.streams;
}

FlightService::~FlightService() = default;

Status FlightService::DoGet(const ServerCallContext& context,
                            const arrow::flight::Ticket& request,
                            std::unique_ptr<arrow::flight::FlightDataStream>* stream) {
  auto call = std::make_unique<Call>(&metrics_, DoorOperation::kGet, "do_get");
  std::shared_ptr<const void> lease;
  auto answer = [&]() -> Result<std::unique_ptr<arrow::flight::FlightDataStream>> {
    ARROW_RETURN_NOT_OK(call->Admit());
    call->counters().received_bytes.Add(std::ssize(request.ticket));
    ARROW_ASSIGN_OR_RAISE(const GetRequest get, ParseTicket(request.ticket));
    call->set_subject(fmt::format("{} known={}", get.key.text(), get.reply.known));
    const RequestContext asked = ContextOf(context);
    ARROW_ASSIGN_OR_RAISE(
        ReplyLeases::Held held,
        replies_.Read(
            {.to_load =
                 [&] { return cache_->BytesToLoad(asked, get.key, get.reply.known); },
             .get = [&] { return cache_->Get(asked, get.key, get.reply.known); },
             .size = [&](const Snapshot& found) { return ReplyBytes(found, get.reply); },
             .cancelled = asked.cancelled}));
    const GetResult& got = held.got;
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
      return MakeNotModifiedReply(unmodified->version, unmodified->kind, get.reply);
    }
    const auto& snapshot = std::get<std::shared_ptr<const Snapshot>>(got);
    lease = std::move(held.lease);
    if (get.reply.compression) {
      // The compressed form lies beside the stored one.
      ARROW_ASSIGN_OR_RAISE(
          auto more, replies_.Acquire(ReplyBytes(*snapshot, get.reply), asked.cancelled));
      lease = std::make_shared<std::pair<std::shared_ptr<const void>, Budget::Lease>>(
          std::move(lease), std::move(more));
    }
    if (IsIncremental(*snapshot, get.reply)) metrics_.incremental.Add();
    return MakeReply(snapshot, get.reply);
  };
  auto made = answer();
  if (!made.ok()) return call->Finish(made.status());
  *stream = Streamed(*std::move(made), std::move(call), std::move(lease));
  return Status::OK();
}

Status FlightService::Put(const ServerCallContext& context,
                          arrow::flight::FlightMessageReader* reader,
                          arrow::flight::FlightMetadataWriter* writer, Call* call) {
  ARROW_RETURN_NOT_OK(call->Admit());
  ARROW_ASSIGN_OR_RAISE(const PutRequest request,
                        PutRequest::Parse(reader->descriptor()));
  const bool put = request.op == PutRequest::Op::kPut;
  const Key& key = request.target.key;
  if (!put) call->set_operation(DoorOperation::kPatch);
  call->set_subject(key.text());
  RequestContext asked = ContextOf(context);
  asked.op_id = request.op_id;
  asked.retry = request.retry;
  Upload upload;
  const Status read =
      ReadUpload(request, reader, {budget_, options_.limits, asked.cancelled}, &upload);
  call->counters().received_bytes.Add(upload.received_bytes);
  ARROW_RETURN_NOT_OK(read);
  WriteOptions options;
  options.if_version = request.if_version;
  options.ttl_ms = request.ttl_ms;
  ARROW_ASSIGN_OR_RAISE(
      const WriteResult result,
      put ? cache_->Put(asked, key, std::move(upload.payload), options,
                        request.target.generated)
          : cache_->Patch(asked, key, std::move(upload.payload), options));
  const std::string ref =
      ObjectRef{options_.endpoint, key.text(), result.version}.Encode();
  call->counters().sent_bytes.Add(std::ssize(ref));
  return writer->WriteMetadata(*arrow::Buffer::FromString(ref));
}

Status FlightService::DoPut(const ServerCallContext& context,
                            std::unique_ptr<arrow::flight::FlightMessageReader> reader,
                            std::unique_ptr<arrow::flight::FlightMetadataWriter> writer) {
  Call call(&metrics_, DoorOperation::kPut, "do_put");
  const Status status = Put(context, reader.get(), writer.get(), &call);
  return call.Finish(WithDefaultOutcome(status, Outcome::kNotApplied));
}

Status FlightService::DoAction(const ServerCallContext& context,
                               const arrow::flight::Action& action,
                               std::unique_ptr<arrow::flight::ResultStream>* result) {
  auto call = std::make_unique<Call>(&metrics_, OperationOf(action.type), "do_action");
  call->set_subject(action.type.substr(0, 100));
  auto body =
      action.body != nullptr ? action.body : std::make_shared<arrow::Buffer>(nullptr, 0);
  call->counters().received_bytes.Add(body->size());
  auto run = [&]() -> Result<Results> {
    ARROW_RETURN_NOT_OK(call->Admit());
    return RunAction(action.type, {cache_, budget_, &replies_, call->metrics(), options_,
                                   ContextOf(context), std::move(body)});
  };
  auto results = run();
  if (!results.ok()) return call->Finish(results.status());
  *result = Streamed(*std::move(results), std::move(call));
  return Status::OK();
}

Status FlightService::ListActions(const ServerCallContext&,
                                  std::vector<arrow::flight::ActionType>* actions) {
  Call call(&metrics_, DoorOperation::kInfo, "list_actions");
  ARROW_RETURN_NOT_OK(call.Finish(call.Admit()));
  *actions = KnownActions();
  return Status::OK();
}

Status FlightService::GetFlightInfo(const ServerCallContext& context,
                                    const FlightDescriptor& request,
                                    std::unique_ptr<FlightInfo>* info) {
  Call call(&metrics_, DoorOperation::kInfo, "get_flight_info");
  auto answer = [&]() -> Status {
    ARROW_RETURN_NOT_OK(call.Admit());
    ARROW_ASSIGN_OR_RAISE(const Key key, KeyOf("get_flight_info", request));
    call.set_subject(key.text());
    // Clients in local mode ask where an object will be served before the server has seen
    // its file.
    ARROW_ASSIGN_OR_RAISE(const auto stat, cache_->Stat(ContextOf(context), key));
    const auto descriptor = FlightDescriptor::Path({key.text()});
    ARROW_ASSIGN_OR_RAISE(FlightInfo made, InfoOf(descriptor, key, options_.endpoint,
                                                  stat ? &*stat : nullptr));
    *info = std::make_unique<FlightInfo>(std::move(made));
    return Status::OK();
  };
  return call.Finish(answer());
}

Status FlightService::GetSchema(const ServerCallContext& context,
                                const FlightDescriptor& request,
                                std::unique_ptr<arrow::flight::SchemaResult>* schema) {
  Call call(&metrics_, DoorOperation::kInfo, "get_schema");
  auto answer = [&]() -> Status {
    ARROW_RETURN_NOT_OK(call.Admit());
    ARROW_ASSIGN_OR_RAISE(const Key key, KeyOf("get_schema", request));
    call.set_subject(key.text());
    ARROW_ASSIGN_OR_RAISE(const auto stat, cache_->Stat(ContextOf(context), key));
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
  return call.Finish(answer());
}

Status FlightService::ListFlights(
    const ServerCallContext& context, const arrow::flight::Criteria* criteria,
    std::unique_ptr<arrow::flight::FlightListing>* listings) {
  auto call = std::make_unique<Call>(&metrics_, DoorOperation::kList, "list_flights");
  const Status admitted = call->Admit();
  if (!admitted.ok()) return call->Finish(admitted);
  const std::string prefix = criteria != nullptr ? criteria->expression : std::string();
  call->set_subject(prefix.substr(0, 1000));
  *listings = std::make_unique<ObjectListing>(Lister(cache_, ContextOf(context), prefix),
                                              options_.endpoint, std::move(call));
  return Status::OK();
}

}  // namespace flame
