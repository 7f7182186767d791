#include "flame/http/http_server.h"

#include <limits>
#include <list>
#include <thread>

#include <fmt/format.h>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "flame/base/error.h"
#include "flame/base/log.h"

namespace flame {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using ErrorCodeOf = boost::system::error_code;

constexpr size_t kDrainBytes = 64 << 10;
constexpr std::chrono::seconds kDrainPatience{1};
constexpr std::chrono::milliseconds kAcceptAgain{100};

using Response = http::response<http::string_body>;

Response MakeResponse(int status, const std::string& content_type, std::string body) {
  Response response{static_cast<http::status>(status), 11};
  response.set(http::field::content_type, content_type);
  response.set(http::field::cache_control, "no-store");
  response.set("X-Content-Type-Options", "nosniff");
  response.body() = std::move(body);
  return response;
}

Response MakeProblem(http::status status, const std::string& why) {
  return MakeResponse(static_cast<int>(status), HttpPage().content_type, why + "\n");
}

/// One connection. Lives on the server's thread; its pending operation keeps it alive.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, const HttpServerOptions& options,
             std::function<void()> on_end)
      : stream_(std::move(socket)), options_(options), on_end_(std::move(on_end)) {}
  ~Connection() { on_end_(); }

  void Read() {
    parser_.emplace();
    // Not read in any case. (Boost 1.74 takes "no limit" for a limit of nothing.)
    parser_->body_limit(std::numeric_limits<uint64_t>::max());
    parser_->header_limit(static_cast<uint32_t>(options_.max_header_bytes));
    stream_.expires_after(options_.patience);
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](const ErrorCodeOf& error,
                                                        size_t) { self->Answer(error); });
  }

  void Close() {
    ErrorCodeOf ignored;
    stream_.socket().close(ignored);
  }

 private:
  void Answer(const ErrorCodeOf& error) {
    if (error == http::error::header_limit) {
      return Write(MakeProblem(http::status::request_header_fields_too_large,
                               fmt::format("the request's headers are over {} bytes",
                                           options_.max_header_bytes)),
                   /*keep_alive=*/false);
    }
    if (error &&
        error.category() == http::make_error_code(http::error::bad_method).category() &&
        error != http::error::end_of_stream && error != http::error::partial_message) {
      return Write(MakeProblem(http::status::bad_request, "not an HTTP request"), false);
    }
    if (error) return;  // Gone, or too slow: closed with the last reference.
    const auto& request = parser_->get();
    // What follows as a body is not read: the connection can't go on behind it.
    const bool has_body = parser_->chunked() ||
                          (parser_->content_length() && *parser_->content_length() > 0);
    const bool keep_alive = request.keep_alive() && !has_body;
    head_ = request.method() == http::verb::head;
    Response response = Find(request);
    response.version(request.version());
    Write(std::move(response), keep_alive);
  }

  Response Find(const http::request<http::buffer_body>& request) const {
    std::string path(request.target());
    path.resize(std::min(path.find('?'), path.size()));
    const auto page = options_.pages.find(path);
    if (page == options_.pages.end()) {
      return MakeProblem(http::status::not_found, "no such page; / lists them");
    }
    if (request.method() != http::verb::get && !head_) {
      Response response =
          MakeProblem(http::status::method_not_allowed, "only GET and HEAD");
      response.set(http::field::allow, "GET, HEAD");
      return response;
    }
    HttpPage made = page->second();
    return MakeResponse(made.status, made.content_type, std::move(made.body));
  }

  void Write(Response response, bool keep_alive) {
    response_ = std::move(response);
    response_.keep_alive(keep_alive);
    response_.content_length(response_.body().size());
    if (head_) response_.body().clear();
    stream_.expires_after(options_.patience);
    http::async_write(
        stream_, response_,
        [self = shared_from_this(), keep_alive](const ErrorCodeOf& error, size_t) {
          if (error) return;
          if (keep_alive) return self->Read();
          // Closing with unread bytes would reset the connection under the answer.
          ErrorCodeOf ignored;
          self->stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
          self->stream_.expires_after(kDrainPatience);
          self->Drain();
        });
  }

  void Drain() {
    buffer_.clear();
    stream_.async_read_some(
        buffer_.prepare(4096),
        [self = shared_from_this()](const ErrorCodeOf& error, size_t bytes) {
          self->drained_ += bytes;
          if (!error && self->drained_ < kDrainBytes) self->Drain();
        });
  }

  beast::tcp_stream stream_;
  const HttpServerOptions& options_;  // The server's; outlives its thread.
  const std::function<void()> on_end_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::buffer_body>> parser_;
  Response response_;
  bool head_ = false;
  size_t drained_ = 0;
};

}  // namespace

class HttpServer::Impl {
 public:
  explicit Impl(HttpServerOptions options)
      : options_(std::move(options)), acceptor_(context_), again_(context_) {}

  ~Impl() {
    context_.stop();
    if (thread_.joinable()) thread_.join();
  }

  arrow::Status Listen() {
    ErrorCodeOf error;
    const auto address = asio::ip::make_address(options_.host, error);
    const tcp::endpoint where(address, static_cast<uint16_t>(options_.port));
    if (!error) acceptor_.open(where.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(where, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) return InvalidError(error.message());
    port_ = acceptor_.local_endpoint().port();
    Accept();
    thread_ = std::thread([this] { context_.run(); });
    return arrow::Status::OK();
  }

  int port() const { return port_; }

 private:
  void Accept() {
    acceptor_.async_accept([this](const ErrorCodeOf& error, tcp::socket socket) {
      if (!error) {
        Serve(std::move(socket));
        return Accept();
      }
      // Out of descriptors, most likely: look again when some may have been returned.
      FLAME_LOG_DEBUG(http, "accept: {}", error.message());
      again_.expires_after(kAcceptAgain);
      again_.async_wait([this](const ErrorCodeOf& stopped) {
        if (!stopped) Accept();
      });
    });
  }

  void Serve(tcp::socket socket) {
    if (open_.size() >= options_.max_connections) {
      if (const auto oldest = open_.front().lock()) oldest->Close();
    }
    open_.emplace_back();
    const auto place = std::prev(open_.end());
    const auto connection = std::make_shared<Connection>(
        std::move(socket), options_, [this, place] { open_.erase(place); });
    *place = connection;
    connection->Read();
  }

  // All but port_ and thread_ are used by the thread only. The context is destroyed
  // before what its handlers use: they hold the connections.
  const HttpServerOptions options_;
  std::list<std::weak_ptr<Connection>> open_;  // By age.
  asio::io_context context_{1};
  tcp::acceptor acceptor_;
  asio::steady_timer again_;
  int port_ = 0;
  std::thread thread_;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

arrow::Result<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  ARROW_RETURN_NOT_OK(impl->Listen());
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

int HttpServer::port() const { return impl_->port(); }

}  // namespace flame
