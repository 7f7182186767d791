// HttpServer: a few pages over HTTP/1.1, for monitoring and for nobody else. GET and
// HEAD, no bodies in. One thread of its own serves every connection; nothing that a
// client does here (slow, endless or broken requests, many connections) takes more than
// the bounds in Options, or anything from the cache's own door.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include <arrow/result.h>

namespace flame {

struct HttpPage {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";  // A numeric address.
  int port = 0;                    // 0 = any free one.
  /// By path ("/metrics"). Called on the server's thread: while one is being made, all
  /// other requests wait.
  std::map<std::string, std::function<HttpPage()>> pages;

  /// A request line and its headers, together.
  int64_t max_header_bytes = 8 << 10;
  /// From a connection's start, or from its last answer, to the end of the next request;
  /// and for the client to take an answer. However busy it looks, it is closed then.
  std::chrono::milliseconds patience = std::chrono::seconds(5);
  /// One connection more closes the one that has been open longest: slow clients can't
  /// keep others out.
  size_t max_connections = 64;
};

/// Thread-safe.
class HttpServer {
 public:
  /// Serves when it returns. kInvalid, saying why, when it can't listen.
  static arrow::Result<std::unique_ptr<HttpServer>> Start(HttpServerOptions options);
  /// Closes every connection; a page that is being made is finished first.
  ~HttpServer();

  /// The one that was bound.
  int port() const;

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace flame
