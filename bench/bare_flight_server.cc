// The control of the benchmark: a FlightServerBase that stores nothing. It answers the
// stock client's calls with the least work that Arrow Flight allows: a put is read to its
// end and acknowledged, a get is one prepared batch.
//
//   bare_flight_server PORT SMALL_FILE LARGE_FILE
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/flight/server.h>
#include <arrow/record_batch.h>
#include <arrow/util/logging.h>

#include "flame/object/object_ref.h"

namespace {

using arrow::Status;
namespace flight = arrow::flight;

std::shared_ptr<arrow::RecordBatch> ReplyOf(const char* file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream bytes;
  bytes << in.rdbuf();
  arrow::UInt64Builder versions;
  arrow::StringBuilder kinds;
  arrow::BinaryBuilder data;
  ARROW_CHECK_OK(versions.Append(1));
  ARROW_CHECK_OK(kinds.Append("base"));
  ARROW_CHECK_OK(data.Append(bytes.str()));
  const auto schema = arrow::schema({arrow::field("version", arrow::uint64(), false),
                                     arrow::field("kind", arrow::utf8(), false),
                                     arrow::field("data", arrow::binary(), false)});
  return arrow::RecordBatch::Make(schema, 1,
                                  {*versions.Finish(), *kinds.Finish(), *data.Finish()});
}

class BareServer final : public flight::FlightServerBase {
 public:
  BareServer(std::string endpoint, const char* small, const char* large)
      : endpoint_(std::move(endpoint)), small_(ReplyOf(small)), large_(ReplyOf(large)) {}

  Status DoPut(const flight::ServerCallContext&,
               std::unique_ptr<flight::FlightMessageReader> reader,
               std::unique_ptr<flight::FlightMetadataWriter> writer) override {
    while (true) {
      ARROW_ASSIGN_OR_RAISE(const auto chunk, reader->Next());
      if (chunk.data == nullptr) break;
    }
    const std::string key = reader->descriptor().path[0] + "/object";
    return writer->WriteMetadata(
        *arrow::Buffer::FromString(flame::ObjectRef{endpoint_, key, 1}.Encode()));
  }

  /// Ticket `.../large/...:0`, anything else is the small object; version 1 in hand = not
  /// modified.
  Status DoGet(const flight::ServerCallContext&, const flight::Ticket& ticket,
               std::unique_ptr<flight::FlightDataStream>* stream) override {
    const auto& reply =
        ticket.ticket.find("/large/") != std::string::npos ? large_ : small_;
    arrow::RecordBatchVector batches;
    if (!ticket.ticket.ends_with(":1")) batches.push_back(reply);
    ARROW_ASSIGN_OR_RAISE(auto reader,
                          arrow::RecordBatchReader::Make(batches, reply->schema()));
    *stream = std::make_unique<flight::RecordBatchStream>(std::move(reader));
    return Status::OK();
  }

  Status DoAction(const flight::ServerCallContext&, const flight::Action&,
                  std::unique_ptr<flight::ResultStream>* results) override {
    *results = std::make_unique<flight::SimpleResultStream>(
        std::vector<flight::Result>{{arrow::Buffer::FromString("OK")}});
    return Status::OK();
  }

 private:
  const std::string endpoint_;
  const std::shared_ptr<arrow::RecordBatch> small_;
  const std::shared_ptr<arrow::RecordBatch> large_;
};

Status Run(int port, const char* small, const char* large) {
  BareServer server("grpc://127.0.0.1:" + std::to_string(port), small, large);
  ARROW_ASSIGN_OR_RAISE(const auto location,
                        flight::Location::ForGrpcTcp("127.0.0.1", port));
  ARROW_RETURN_NOT_OK(server.Init(flight::FlightServerOptions(location)));
  ARROW_RETURN_NOT_OK(server.SetShutdownOnSignals({SIGTERM}));
  std::puts("ready");
  std::fflush(stdout);
  return server.Serve();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: bare_flight_server PORT SMALL_FILE LARGE_FILE\n", stderr);
    return 2;
  }
  const Status status = Run(std::atoi(argv[1]), argv[2], argv[3]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
