// Endpoint: the URL of a cache server, as clients know it: a TCP address or a Unix
// socket.
#pragma once

#include <string>
#include <string_view>

#include <arrow/result.h>
#include <arrow/status.h>

namespace flame {

constexpr int kDefaultPort = 9090;
constexpr int kDefaultHttpPort = 9092;

struct Endpoint {
  std::string scheme = "grpc";     // As written.
  std::string host = "127.0.0.1";  // Name or address; IPv6 without brackets.
  int port = kDefaultPort;         // 0 = any free one.
  std::string path = {};  // Of a Unix socket, absolute; host and port are unused.

  /// grpcs, grpc+tls or https.
  bool tls() const;
  bool is_unix() const { return !path.empty(); }
  /// The scheme that clients understand for it: "grpc", "grpc+tls" or "grpc+unix".
  std::string ClientScheme() const;
  bool operator==(const Endpoint&) const = default;
};

/// `SCHEME://HOST[:PORT]`, or `HOST[:PORT]` for grpc://. The schemes are grpc, grpc+tcp
/// and http without TLS and grpcs, grpc+tls and https with it. A missing port is
/// `default_port`. A Unix socket is `grpc+unix:///PATH` or `unix:///PATH`.
arrow::Result<Endpoint> ParseEndpoint(std::string_view text,
                                      int default_port = kDefaultPort);
/// `http://HOST[:PORT]` or `HOST[:PORT]`; a missing port is kDefaultHttpPort.
arrow::Result<Endpoint> ParseHttpEndpoint(std::string_view text);
/// Back to text. A port of -1 is left out.
std::string FormatEndpoint(const Endpoint& endpoint);

/// kInvalid unless a Unix socket can have this path and a URL can carry it.
arrow::Status CheckSocketPath(std::string_view path);

}  // namespace flame
