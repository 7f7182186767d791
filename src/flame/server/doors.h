// Where the server listens: the services of the Flight door, one per address or socket.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "flame/config/server_config.h"
#include "flame/flight/service.h"
#include "flame/tls/credentials.h"

namespace flame {

/// gRPC only says that it could not start: find out why before it tries.
arrow::Status CheckCanListen(const HostPort& bind);
/// The certificates, checked; nullopt without TLS.
arrow::Result<std::optional<TlsCredentials>> LoadTls(const ServerConfig& config);

/// They share everything but the address. Those that take part in TLS are on TCP.
using Doors = std::vector<std::unique_ptr<FlightService>>;
/// Opens the one on an address, unless the endpoint is a socket, and the one on a socket.
/// `make` makes a service, `set_up` adds to its options.
arrow::Result<Doors> OpenDoors(
    const ServerConfig& config, const std::optional<TlsCredentials>& tls,
    const std::function<std::unique_ptr<FlightService>()>& make,
    const std::function<void(arrow::flight::FlightServerOptions*)>& set_up);
/// For people: "127.0.0.1:9090 and /run/flame/cache.sock".
std::string Listening(const ServerConfig& config, const Doors& doors);

}  // namespace flame
