#include "flame/server/remote_results.h"

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/config/endpoint.h"
#include "flame/config/host.h"

namespace flame {
namespace {

using arrow::Status;
namespace flight = arrow::flight;

constexpr std::chrono::seconds kPatience{30};

}  // namespace

Status RemoteResults::Connect() {
  ARROW_ASSIGN_OR_RAISE(const Endpoint endpoint, ParseEndpoint(url_));
  Endpoint plain = endpoint;
  plain.scheme = endpoint.ClientScheme() == "grpc" ? "grpc+tcp" : endpoint.ClientScheme();
  ARROW_ASSIGN_OR_RAISE(const auto location,
                        endpoint.is_unix()
                            ? flight::Location::ForGrpcUnix(endpoint.path)
                            : flight::Location::Parse(FormatEndpoint(plain)));
  auto options = flight::FlightClientOptions::Defaults();
  if (endpoint.tls() && !ca_file_.empty()) {
    ARROW_ASSIGN_OR_RAISE(auto text, Host::System()->ReadFile(ca_file_));
    if (!text) return InvalidError(fmt::format("the file {} is not there", ca_file_));
    options.tls_root_certs = *std::move(text);
  }
  return flight::FlightClient::Connect(location, options).Value(&client_);
}

Status RemoteResults::Remove(const std::string& application, const std::string& session) {
  MutexLock lock(mutex_);
  if (client_ == nullptr) ARROW_RETURN_NOT_OK(Connect());
  flight::FlightCallOptions options;
  options.timeout = kPatience;
  const flight::Action action{
      "DELETE", arrow::Buffer::FromString(fmt::format("{}/{}", application, session))};
  const auto call = [&]() -> Status {
    ARROW_ASSIGN_OR_RAISE(const auto results, client_->DoAction(options, action));
    for (;;) {
      ARROW_ASSIGN_OR_RAISE(const auto result, results->Next());
      if (result == nullptr) return Status::OK();
    }
  };
  Status status = call();
  if (!status.ok()) client_.reset();  // The next try has a connection of its own.
  return status;
}

}  // namespace flame
