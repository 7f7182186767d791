#include "flame/config/endpoint.h"

#include <algorithm>
#include <array>
#include <cctype>

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
// Of sockaddr_un, without the NUL at the end.
constexpr size_t kMaxSocketPath = 107;

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

std::string Endpoint::ClientScheme() const {
  if (is_unix()) return "grpc+unix";
  return tls() ? "grpc+tls" : "grpc";
}

arrow::Status CheckSocketPath(std::string_view path) {
  if (path.empty() || path.front() != '/' || path.back() == '/') {
    return InvalidError(fmt::format(
        "'{}' is not the absolute path of a socket; write /run/flame/cache.sock", path));
  }
  if (path.size() > kMaxSocketPath) {
    return InvalidError(
        fmt::format("'{}' has {} bytes, but the path of a Unix socket has at most {}; "
                    "choose a shorter one",
                    path, path.size(), kMaxSocketPath));
  }
  const auto odd = std::find_if(path.begin(), path.end(), [](unsigned char c) {
    return !std::isalnum(c) &&
           std::string_view("/-_.+,=@~").find(c) == std::string_view::npos;
  });
  if (odd != path.end()) {
    return InvalidError(fmt::format(
        "'{}' has the character '{}', which the URL of a socket cannot carry; use "
        "letters, digits and - _ . + , = @ ~",
        path, *odd));
  }
  return arrow::Status::OK();
}

arrow::Result<Endpoint> ParseEndpoint(std::string_view text, int default_port) {
  Endpoint endpoint;
  std::string_view rest = text;
  if (const size_t separator = text.find("://"); separator != std::string_view::npos) {
    endpoint.scheme = std::string(text.substr(0, separator));
    if (endpoint.scheme == "unix" || endpoint.scheme == "grpc+unix") {
      const std::string_view path = text.substr(separator + 3);
      ARROW_RETURN_NOT_OK(CheckSocketPath(path));
      return Endpoint{"grpc+unix", "", -1, std::string(path)};
    }
    if (FindScheme(endpoint.scheme) == nullptr) {
      return InvalidError(
          fmt::format("'{}' has the unknown scheme '{}'; write grpc://HOST:PORT (or "
                      "http, grpcs, grpc+tls) or grpc+unix:///PATH",
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
  if (endpoint.is_unix()) return fmt::format("grpc+unix://{}", endpoint.path);
  return fmt::format("{}://{}", endpoint.scheme,
                     FormatHostPort({endpoint.host, endpoint.port}));
}

}  // namespace flame
