// FlightService: the Arrow Flight door. Decodes calls into model values, asks Cache,
// encodes the answers; no rule about objects lives here. What goes over the wire is on
// docs/internals/wire.md.
//
// Thread-safe: gRPC calls it from its own threads, one per call.
#pragma once

#include <memory>
#include <string>

#include <arrow/flight/server.h>

#include "flame/base/metrics.h"
#include "flame/cache/cache.h"
#include "flame/flight/limits.h"
#include "flame/flight/reply_leases.h"
#include "flame/memory/buffer_pool.h"

namespace flame {
class Call;  // flame/flight/call.h

struct FlightServiceOptions {
  std::string endpoint;  // Advertised to clients: grpc://host:port.
  std::string version;   // Of the program.
  std::string storage;   // For people: "none" or the storage's URL.
  std::string store_id;
  int64_t started_ms = 0;
  FlightLimits limits;
};

/// What all listeners of this door share. Outlives them.
struct FlightShared {
  explicit FlightShared(int64_t reply_bytes) : replies(reply_bytes) {}
  DoorMetrics metrics{"flight"};
  ReplyLeases replies;
};

class FlightService final : public arrow::flight::FlightServerBase {
 public:
  /// All but the options are borrowed and must outlive the service. Uploads are counted
  /// against the budget; replies are not.
  FlightService(Cache* cache, Budget* budget, FlightShared* shared,
                FlightServiceOptions options);
  ~FlightService() override;

  /// The endpoint may depend on the port that Init() bound. Call before Serve().
  void set_endpoint(std::string endpoint) { options_.endpoint = std::move(endpoint); }

  arrow::Status ListFlights(
      const arrow::flight::ServerCallContext& context,
      const arrow::flight::Criteria* criteria,
      std::unique_ptr<arrow::flight::FlightListing>* listings) override;
  arrow::Status GetFlightInfo(const arrow::flight::ServerCallContext& context,
                              const arrow::flight::FlightDescriptor& request,
                              std::unique_ptr<arrow::flight::FlightInfo>* info) override;
  arrow::Status GetSchema(const arrow::flight::ServerCallContext& context,
                          const arrow::flight::FlightDescriptor& request,
                          std::unique_ptr<arrow::flight::SchemaResult>* schema) override;
  arrow::Status DoGet(const arrow::flight::ServerCallContext& context,
                      const arrow::flight::Ticket& request,
                      std::unique_ptr<arrow::flight::FlightDataStream>* stream) override;
  arrow::Status DoPut(
      const arrow::flight::ServerCallContext& context,
      std::unique_ptr<arrow::flight::FlightMessageReader> reader,
      std::unique_ptr<arrow::flight::FlightMetadataWriter> writer) override;
  arrow::Status DoAction(const arrow::flight::ServerCallContext& context,
                         const arrow::flight::Action& action,
                         std::unique_ptr<arrow::flight::ResultStream>* result) override;
  arrow::Status ListActions(const arrow::flight::ServerCallContext& context,
                            std::vector<arrow::flight::ActionType>* actions) override;

 private:
  arrow::Status Put(const arrow::flight::ServerCallContext& context,
                    arrow::flight::FlightMessageReader* reader,
                    arrow::flight::FlightMetadataWriter* writer, Call* call);

  Cache* const cache_;    // Borrowed.
  Budget* const budget_;  // Borrowed.
  DoorMetrics& metrics_;  // Shared.
  ReplyLeases& replies_;  // Shared.
  FlightServiceOptions options_;
};

}  // namespace flame
