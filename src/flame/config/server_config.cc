#include "flame/config/server_config.h"

#include <tuple>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/size.h"

namespace flame {

std::string ValueSource::ToString() const {
  switch (kind) {
    case Kind::kDefault:
      return "default";
    case Kind::kEnvironment:
      return "from env " + where;
    case Kind::kFlag:
      return "from flag " + where;
    default:
      return "from " + where;
  }
}

std::string ServerConfig::AdvertisedUrl(int bound_port) const {
  if (advertise.is_unix()) return FormatEndpoint(advertise);
  if (endpoint.is_unix() && advertise.host.empty()) return FormatEndpoint(endpoint);
  const Endpoint& scheme_of = advertise.scheme.empty() ? endpoint : advertise;
  return FormatEndpoint({scheme_of.is_unix() ? "grpc" : scheme_of.ClientScheme(),
                         advertise.host,
                         advertise.port > 0 ? advertise.port : bound_port});
}

const ValueSource& ServerConfig::SourceOf(std::string_view path) const {
  static const ValueSource kDefault;
  const auto found = sources.find(path);
  return found == sources.end() ? kDefault : found->second;
}

arrow::Status ServerConfig::Validate() const {
  if (tls.given() && (tls.cert_file.empty() || tls.key_file.empty())) {
    return InvalidError("cache.tls needs both cert_file and key_file");
  }
  if (endpoint.is_unix() && !unix_socket.empty()) {
    return InvalidError(fmt::format(
        "cache.unix_socket is {}, but cache.endpoint is a Unix socket already; give "
        "cache.endpoint the TCP address, or leave cache.unix_socket out",
        unix_socket));
  }
  if (endpoint.tls() && !tls.given()) {
    return InvalidError(
        fmt::format("cache.endpoint is {}, which needs a certificate: set "
                    "cache.tls.cert_file and cache.tls.key_file, or use grpc://",
                    FormatEndpoint(endpoint)));
  }
  if (!advertise.scheme.empty() && advertise.tls() != endpoint.tls()) {
    return InvalidError(fmt::format(
        "cache.advertise is {}, but cache.endpoint is {}: both must be with TLS or both "
        "without",
        FormatEndpoint(advertise), FormatEndpoint(endpoint)));
  }
  if (limits.in_flight <= 0)
    return InvalidError("cache.limits.in_flight must be more than 0");
  if (limits.object && *limits.object > limits.in_flight) {
    return InvalidError(
        fmt::format("cache.limits.object is {} and cache.limits.in_flight {}: an object "
                    "must fit into "
                    "what may be in flight",
                    FormatSize(*limits.object), FormatSize(limits.in_flight)));
  }
  for (const auto& [name, value, least] :
       {std::tuple{"object", limits.object.value_or(1), int64_t{1}},
        {"streams", limits.streams, int64_t{1}},
        {"list_objects", limits.list_objects, int64_t{1}},
        {"list_bytes", limits.list_bytes, int64_t{4096}}}) {
    if (value < least) {
      return InvalidError(fmt::format("cache.limits.{} must be {} or more", name, least));
    }
  }
  if (patches_max < 1 || patches_max > 1'000'000) {
    return InvalidError("cache.patches_max must be from 1 to 1000000");
  }
  return arrow::Status::OK();
}

}  // namespace flame
