// With plain sockets, so that every byte is the test's.
#include "flame/http/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flame {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Socket {
 public:
  explicit Socket(int port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const timeval patience{20, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  ~Socket() { close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  /// False when the server has closed the connection.
  bool Send(const std::string& text) {
    return send(fd_, text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
  }
  /// Everything until the server closes.
  std::string ReadAll() {
    std::string text;
    char buffer[4096];
    while (true) {
      const ssize_t got = recv(fd_, buffer, sizeof(buffer), 0);
      if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        ADD_FAILURE() << "the server keeps the connection open";
      }
      if (got <= 0) return text;
      text.append(buffer, static_cast<size_t>(got));
    }
  }
  std::string ReadUntil(const std::string& end) {
    std::string text;
    char c = 0;
    while (!text.ends_with(end) && recv(fd_, &c, 1, 0) == 1) text += c;
    return text;
  }

 private:
  const int fd_;
};

class HttpServerTest : public ::testing::Test {
 protected:
  void Start(HttpServerOptions options = {}) {
    options.pages["/page"] = [] { return HttpPage{.body = "text"}; };
    options.pages["/bad"] = [] { return HttpPage{.status = 503, .body = "no"}; };
    options.pages["/large"] = [] { return HttpPage{.body = std::string(8 << 20, 'x')}; };
    ASSERT_OK_AND_ASSIGN(server_, HttpServer::Start(std::move(options)));
  }
  std::string Ask(const std::string& request) {
    Socket socket(server_->port());
    EXPECT_TRUE(socket.Send(request));
    return socket.ReadAll();
  }
  std::string Get(const std::string& path, const std::string& method = "GET",
                  const std::string& rest = "") {
    return Ask(method + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" +
               rest + "\r\n");
  }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, PagesAreServedWithTheirStatus) {
  Start();
  EXPECT_THAT(Get("/page"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(Get("/page"), EndsWith("\r\n\r\ntext"));
  EXPECT_THAT(Get("/page?a=b"), EndsWith("\r\n\r\ntext"));
  EXPECT_THAT(Get("/bad"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(Get("/other"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Ask("GET /page HTTP/1.0\r\n\r\n"), EndsWith("\r\n\r\ntext"));
}

TEST_F(HttpServerTest, HeadIsTheHeadersAlone) {
  Start();
  const std::string reply = Get("/page", "HEAD");
  EXPECT_THAT(reply, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(reply, HasSubstr("Content-Length: 4\r\n"));
  EXPECT_THAT(reply, EndsWith("\r\n\r\n"));
}

TEST_F(HttpServerTest, OtherMethodsAreNotAllowed) {
  Start();
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS"}) {
    const std::string reply = Get("/page", method, "Content-Length: 5\r\n");
    EXPECT_THAT(reply, StartsWith("HTTP/1.1 405 ")) << method;
    EXPECT_THAT(reply, HasSubstr("Allow: GET, HEAD\r\n"));
  }
  // The body is not taken for the next request.
  const std::string both =
      Ask("POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 38\r\n\r\n"
          "GET /page HTTP/1.1\r\nHost: smuggled\r\n\r\n");
  EXPECT_THAT(both, StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(both, Not(HasSubstr("200 OK")));
}

TEST_F(HttpServerTest, AConnectionServesSeveralRequests) {
  Start();
  Socket socket(server_->port());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(socket.Send("GET /page HTTP/1.1\r\nHost: x\r\n\r\n"));
    EXPECT_THAT(socket.ReadUntil("\r\n\r\ntext"), StartsWith("HTTP/1.1 200 OK\r\n"));
  }
}

TEST_F(HttpServerTest, WhatIsNoRequestIsRefused) {
  Start();
  for (const std::string& text :
       {std::string("nonsense\r\n\r\n"), std::string("\0\1\2\3\r\n\r\n", 8),
        std::string("GET /page HTTP/9.9\r\n\r\n"),
        std::string("GET /page HTTP/1.1\r\nContent-Length: -5\r\n\r\n")}) {
    EXPECT_THAT(Ask(text), StartsWith("HTTP/1.1 400 ")) << text;
  }
  const std::string header = "X: " + std::string(20 << 10, 'x') + "\r\n";
  EXPECT_THAT(Get("/page", "GET", header), StartsWith("HTTP/1.1 431 "));
}

TEST_F(HttpServerTest, ASlowRequestIsCutOffHoweverBusyItLooks) {
  HttpServerOptions options;
  options.patience = std::chrono::milliseconds(300);
  Start(options);
  Socket socket(server_->port());
  ASSERT_TRUE(socket.Send("GET /page HTTP/1.1\r\n"));
  // A byte every now and then does not prolong it. The server's end of the connection is
  // noticed by the second write behind it.
  const auto start = std::chrono::steady_clock::now();
  while (socket.Send("X")) {
    ASSERT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

TEST_F(HttpServerTest, SlowClientsDoNotKeepOthersOut) {
  HttpServerOptions options;
  options.max_connections = 8;
  options.patience = std::chrono::minutes(10);
  Start(options);
  std::vector<std::unique_ptr<Socket>> slow;
  for (int i = 0; i < 40; ++i) {
    slow.push_back(std::make_unique<Socket>(server_->port()));
    slow.back()->Send("GET /page HTTP/1.1\r\n");
  }
  // Nor do those who do not read.
  for (int i = 0; i < 40; ++i) {
    slow.push_back(std::make_unique<Socket>(server_->port()));
    slow.back()->Send("GET /large HTTP/1.1\r\n\r\n");
  }
  for (int i = 0; i < 10; ++i) EXPECT_THAT(Get("/page"), EndsWith("text"));
}

TEST_F(HttpServerTest, StoppingClosesWhatIsOpen) {
  Start();
  Socket idle(server_->port());
  ASSERT_TRUE(idle.Send("GET /page HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_THAT(idle.ReadUntil("\r\n\r\ntext"), StartsWith("HTTP/1.1 200"));
  Socket reading(server_->port());
  reading.Send("GET /large HTTP/1.1\r\n\r\n");
  server_.reset();
  EXPECT_EQ(idle.ReadAll(), "");
  reading.ReadAll();
}

TEST_F(HttpServerTest, ATakenPortIsSaidPlainly) {
  Start();
  const auto second = HttpServer::Start({.port = server_->port()});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.status().message(), HasSubstr("Address already in use"));
}

}  // namespace
}  // namespace flame
