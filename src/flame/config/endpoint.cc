#include "flame/config/endpoint.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/config/ip_address.h"

namespace flame {
namespace {

struct Scheme {
  std::string_view name;
  bool tls;
};
constexpr std::array kSchemes{Scheme{"grpc", false},    Scheme{"grpc+tcp", false},
                              Scheme{"http", false},    Scheme{"grpcs", true},
                              Scheme{"grpc+tls", true}, Scheme{"https", true}};

const Scheme* FindScheme(std::string_view name) {
  const auto found =
      std::find_if(kSchemes.begin(), kSchemes.end(),
                   [&](const Scheme& scheme) { return scheme.name == name; });
  return found == kSchemes.end() ? nullptr : &*found;
}

}  // namespace

bool Endpoint::tls() const {
  const Scheme* known = FindScheme(scheme);
  return known != nullptr && known->tls;
}

arrow::Result<Endpoint> ParseEndpoint(std::string_view text, int default_port) {
  Endpoint endpoint;
  std::string_view rest = text;
  if (const size_t separator = text.find("://"); separator != std::string_view::npos) {
    endpoint.scheme = std::string(text.substr(0, separator));
    if (FindScheme(endpoint.scheme) == nullptr) {
      return InvalidError(
          fmt::format("'{}' has the unknown scheme '{}'; write grpc://HOST:PORT (or "
                      "http, grpcs, grpc+tls)",
                      text, endpoint.scheme));
    }
    rest = text.substr(separator + 3);
  }
  if (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
  auto address = ParseHostPort(rest);
  if (!address.ok()) {
    return InvalidError(
        fmt::format("'{}' is not an endpoint: {}", text, address.status().message()));
  }
  endpoint.host = address->host;
  endpoint.port = address->port >= 0 ? address->port : default_port;
  return endpoint;
}

arrow::Result<Endpoint> ParseHttpEndpoint(std::string_view text) {
  ARROW_ASSIGN_OR_RAISE(Endpoint endpoint, ParseEndpoint(text, kDefaultHttpPort));
  if (text.find("://") != std::string_view::npos && endpoint.scheme != "http") {
    return InvalidError(
        fmt::format("'{}' has the scheme '{}'; write http://HOST:PORT, or off", text,
                    endpoint.scheme));
  }
  endpoint.scheme = "http";
  return endpoint;
}

std::string FormatEndpoint(const Endpoint& endpoint) {
  return fmt::format("{}://{}", endpoint.scheme,
                     FormatHostPort({endpoint.host, endpoint.port}));
}

}  // namespace flame
