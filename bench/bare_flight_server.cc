// The control of the benchmark: a FlightServerBase that stores nothing. It answers the
// stock client's calls with the least work that Arrow Flight allows: a put is read to its
// end and acknowledged, a get is one prepared batch.
//
//   bare_flight_server PORT FOLDER
//
// A file `name` of the folder is the object of the keys `any/name/any`. The file `name-N`
// is one that the client has and that has got N patches since, all with this content.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string_view>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/flight/server.h>
#include <arrow/record_batch.h>
#include <arrow/util/logging.h>

#include "flame/object/object_ref.h"

namespace {

using arrow::Status;
namespace flight = arrow::flight;

std::string ReadAll(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream bytes;
  bytes << in.rdbuf();
  return std::move(bytes).str();
}

/// One base of version 1, or so many patches after it.
std::shared_ptr<arrow::RecordBatch> ReplyOf(const std::string& bytes, int patches) {
  arrow::UInt64Builder versions;
  arrow::StringBuilder kinds;
  arrow::BinaryBuilder data;
  const int rows = std::max(patches, 1);
  for (int row = 0; row < rows; ++row) {
    ARROW_CHECK_OK(versions.Append(patches == 0 ? 1 : 2 + row));
    ARROW_CHECK_OK(kinds.Append(patches == 0 ? "base" : "patch"));
    ARROW_CHECK_OK(data.Append(bytes));
  }
  const auto schema = arrow::schema({arrow::field("version", arrow::uint64(), false),
                                     arrow::field("kind", arrow::utf8(), false),
                                     arrow::field("data", arrow::binary(), false)});
  return arrow::RecordBatch::Make(schema, rows,
                                  {*versions.Finish(), *kinds.Finish(), *data.Finish()});
}

using Replies = std::map<std::string, std::shared_ptr<arrow::RecordBatch>, std::less<>>;

Replies RepliesOf(const char* folder) {
  Replies replies;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    const std::string name = file.path().filename();
    const size_t dash = name.find('-');
    const int patches =
        dash == std::string::npos ? 0 : std::atoi(name.c_str() + dash + 1);
    replies[name] = ReplyOf(ReadAll(file.path()), patches);
  }
  return replies;
}

class BareServer final : public flight::FlightServerBase {
 public:
  BareServer(std::string endpoint, Replies replies)
      : endpoint_(std::move(endpoint)), replies_(std::move(replies)) {}

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

  /// Version 1 in hand = not modified.
  Status DoGet(const flight::ServerCallContext&, const flight::Ticket& ticket,
               std::unique_ptr<flight::FlightDataStream>* stream) override {
    const std::string_view key = ticket.ticket;
    const size_t start = key.find('/') + 1;
    const auto found = replies_.find(key.substr(start, key.find('/', start) - start));
    if (found == replies_.end()) return Status::KeyError("no reply for ", key);
    const auto& reply = found->second;
    const bool is_known =
        key.ends_with(":1") && found->first.find('-') == std::string::npos;
    arrow::RecordBatchVector batches;
    if (!is_known) batches.push_back(reply);
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
  const Replies replies_;
};

Status Run(int port, const char* folder) {
  BareServer server("grpc://127.0.0.1:" + std::to_string(port), RepliesOf(folder));
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
  if (argc != 3) {
    std::fputs("usage: bare_flight_server PORT FOLDER\n", stderr);
    return 2;
  }
  const Status status = Run(std::atoi(argv[1]), argv[2]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
