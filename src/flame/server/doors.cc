#include "flame/server/doors.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/base/unix_socket.h"

namespace flame {

arrow::Status CheckCanListen(const HostPort& bind) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(bind.port);
  if (getaddrinfo(bind.host.c_str(), port.c_str(), &hints, &found) != 0)
    return arrow::Status::OK();
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  const int socket = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return arrow::Status::OK();
  const int on = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const int failed = ::bind(socket, found->ai_addr, found->ai_addrlen) != 0 ? errno : 0;
  close(socket);
  if (failed == 0) return arrow::Status::OK();
  return InvalidError(fmt::format(
      "cannot listen on {}: {}; {}", FormatHostPort(bind), std::strerror(failed),
      failed == EADDRINUSE
          ? "stop what listens there or choose another port with --endpoint"
          : "choose another address with --bind"));
}

arrow::Result<std::optional<TlsCredentials>> LoadTls(const ServerConfig& config) {
  if (!config.endpoint.tls()) return std::nullopt;
  ARROW_ASSIGN_OR_RAISE(
      auto tls, LoadTlsCredentials({"cache", config.tls.cert_file, config.tls.key_file,
                                    config.tls.client_ca_file},
                                   config.advertise.host, *Clock::System()));
  for (const std::string& warning : tls.warnings) FLAME_LOG_WARN(server, "{}", warning);
  return tls;
}

arrow::Result<Doors> OpenDoors(
    const ServerConfig& config, const std::optional<TlsCredentials>& tls,
    const std::function<std::unique_ptr<FlightService>()>& make,
    const std::function<void(arrow::flight::FlightServerOptions*)>& set_up) {
  using arrow::flight::Location;
  Doors doors;
  auto open = [&](const Location& location) {
    // Calls come in as soon as Init() has bound, so what they are told is set before. Of
    // a port that the system chooses nobody knows before we do.
    const int port = doors.empty() ? config.bind.port : doors.front()->port();
    doors.push_back(make());
    doors.back()->set_endpoint(config.AdvertisedUrl(port));
    arrow::flight::FlightServerOptions options(location);
    set_up(&options);
    // Whoever may open the socket is the server's own user.
    if (tls && location.scheme() != "grpc+unix") {
      options.tls_certificates = {{tls->certificates, tls->key}};
      options.verify_client = !tls->client_cas.empty();
      options.root_certificates = tls->client_cas;
    }
    return doors.back()->Init(options);
  };
  if (config.ListensOnTcp()) {
    ARROW_ASSIGN_OR_RAISE(const Location location,
                          Location::Parse((tls ? "grpc+tls://" : "grpc+tcp://") +
                                          FormatHostPort(config.bind)));
    ARROW_RETURN_NOT_OK(open(location));
  }
  if (!config.SocketPath().empty()) {
    ARROW_ASSIGN_OR_RAISE(const Location location,
                          Location::ForGrpcUnix(config.SocketPath()));
    const PrivateUmask nobody_else;
    ARROW_RETURN_NOT_OK(open(location));
  }
  return doors;
}

std::string Listening(const ServerConfig& config, const Doors& doors) {
  std::string text;
  if (config.ListensOnTcp())
    text = FormatHostPort({config.bind.host, doors.front()->port()});
  if (config.SocketPath().empty()) return text;
  return text + (text.empty() ? "" : " and ") + config.SocketPath();
}

}  // namespace flame
