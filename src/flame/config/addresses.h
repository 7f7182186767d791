// Where the server listens and what it tells clients to connect to, worked out from what
// was configured.
#pragma once

#include <arrow/status.h>

namespace flame {
class Host;           // flame/config/host.h
struct ServerConfig;  // flame/config/server_config.h

/// Complete `bind` and `advertise` of `config` and the sources of both.
///
/// Listening: `bind` if given, else the address of `network_interface` if given, else the
/// host of `endpoint`, which must be an address of this machine. Advertising: `advertise`
/// if given, else the address of `network_interface` if given, else the host of
/// `endpoint`; where only `bind` is given, that. Of "every address" one is advertised
/// that other machines can reach.
///
/// With a file that names neither interface nor address to listen on, and an endpoint
/// elsewhere, the interface is the one that such files imply: eth0.
arrow::Status ResolveAddresses(const Host& host, bool with_file, ServerConfig* config);

}  // namespace flame
