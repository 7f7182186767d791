// ServerConfig: everything that flame-object-cache is told, understood and checked.
// Filled from the command line, the environment, a file and defaults by
// LoadServerConfig() (load.h); the table of all settings is settings.cc. Nothing below
// this folder reads environment variables or YAML.
//
// A value; after loading, constant.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/status.h>

#include "flame/base/log.h"
#include "flame/config/endpoint.h"
#include "flame/config/ip_address.h"
#include "flame/config/storage_url.h"

namespace flame {

/// Where a value comes from; a later kind beats an earlier one.
struct ValueSource {
  enum class Kind { kDefault, kDerived, kFile, kEnvironment, kFlag };
  Kind kind = Kind::kDefault;
  /// "FILE:LINE", the variable, the flag, or the key that it was derived from. Empty for
  /// a default.
  std::string where;

  /// "default", "from env FLAME_CACHE_STORAGE", "from flag --storage", "from
  /// cache.endpoint", "from FILE:LINE".
  std::string ToString() const;
};

struct ServerConfig {
  // Network.

  /// The server as clients know it. Its host is where to listen and what to advertise
  /// unless the settings below say so.
  Endpoint endpoint;
  /// Where to listen: `bind`, else the address of `network_interface`, else the host of
  /// `endpoint`. After loading an IP address and a port, 0 = any free one.
  HostPort bind;
  /// What clients are told to connect to; see AdvertisedUrl(). Without a scheme it is the
  /// endpoint's, without a port
  /// (-1) the one that was bound.
  Endpoint advertise{.scheme = "", .host = "", .port = -1};
  /// A Unix socket to listen on as well; empty = none. The one of `endpoint`, if that is
  /// a Unix socket, is the only one then.
  std::string unix_socket;
  /// Regular expression for the name of the interface whose address `bind` and
  /// `advertise` default to; empty = none.
  std::string network_interface;

  // HTTP.

  struct Http {
    /// Where metrics and health are served; nullopt = nowhere.
    std::optional<Endpoint> endpoint = Endpoint{"http", "127.0.0.1", kDefaultHttpPort};
    /// The address of `endpoint` after loading; port 0 = any free one.
    HostPort bind;
  } http;

  // Storage.

  /// Where objects outlive the server; kNone = they don't.
  StorageUrl storage;
  /// kNever: an acknowledged write survives the death of the server, not that of the
  /// machine. kAlways: both.
  enum class Sync { kNever, kAlways };
  Sync sync = Sync::kNever;
  /// Objects smaller than this live packed in the index instead of in a file each; 0 = a
  /// file for each.
  int64_t pack_below = 64 << 10;
  /// Of large objects' files, and of what is packed. Those smaller than `min_size` or not
  /// smaller by the share `min_gain` afterwards stay as they are.
  enum class Compression { kNone, kLz4, kZstd };
  Compression compression = Compression::kNone;
  int64_t compression_min_size = 64 << 10;
  double compression_min_gain = 0.1;
  /// Patches of one object; a further one is refused until the object is put anew.
  int64_t patches_max = 1000;
  /// Small files that the running server keeps, absolute: with `storage: none` the
  /// versions that a restart goes on from.
  std::string runtime_dir;
  /// Versions of deleted objects are remembered exactly, to go on counting there, for so
  /// many and so long.
  int64_t tombstones_max = 100'000;
  std::chrono::milliseconds tombstone_age = std::chrono::hours(24);

  // Memory.

  struct Limits {
    /// Bytes of requests being worked on; beyond it requests wait. Default: a quarter of
    /// the memory.
    int64_t in_flight = 0;
    /// Bytes of one put or patch; nullopt = as many as may be in flight.
    std::optional<int64_t> object;
    /// Calls that run at once.
    int64_t streams = 2048;
    /// Entries and bytes of one page of a list or feed, and of a batch.
    int64_t list_objects = 100'000;
    int64_t list_bytes = 64 << 20;
  } limits;

  struct Eviction {
    enum class Policy { kLru, kS3Fifo, kNone };
    Policy policy = Policy::kLru;
    /// Bytes that objects in memory may take. Without a configuration file: half of the
    /// memory.
    std::optional<int64_t> max_memory = int64_t{1} << 30;
    /// Objects in memory; nullopt = no bound.
    std::optional<int64_t> max_objects;
  } eviction;

  // TLS. PEM files.

  struct Tls {
    std::string cert_file;       // The server's certificate chain; goes with key_file.
    std::string key_file;        // Its private key.
    std::string client_ca_file;  // Require client certificates signed by one of these.
    // For clients; accepted in shared files, not used by the server.
    std::string ca_file;
    bool given() const {
      return !(cert_file + key_file + client_ca_file + ca_file).empty();
    }
  } tls;

  // Process.

  /// Levels, format and file of the log; for SetUpLogging().
  LogOptions log;
  /// The filter that `log` was made from, as written.
  std::string log_filter = "info";
  /// How long a stop waits for the requests that are being answered.
  std::chrono::milliseconds drain_timeout = std::chrono::seconds(10);
  /// Stop after so long without a call; 0 = never.
  std::chrono::milliseconds exit_when_idle{0};

  // About the values.

  /// By YAML path ("cache.storage"), one for every setting.
  std::map<std::string, ValueSource, std::less<>> sources;
  /// What the operator should know, one line each; to be logged once.
  std::vector<std::string> warnings;

  /// The Unix socket to listen on, alone or beside `bind`; empty = none.
  const std::string& SocketPath() const {
    return endpoint.is_unix() ? endpoint.path : unix_socket;
  }
  /// Whether there is an address to listen on, beside a socket.
  bool ListensOnTcp() const { return !endpoint.is_unix(); }
  /// The URL that clients are told, given the port that the server got.
  std::string AdvertisedUrl(int bound_port) const;
  const ValueSource& SourceOf(std::string_view path) const;
  /// True when a file, the environment or a flag said so.
  bool IsGiven(std::string_view path) const {
    return SourceOf(path).kind >= ValueSource::Kind::kFile;
  }
  /// kInvalid, naming the key, when the values do not go together.
  arrow::Status Validate() const;
};

}  // namespace flame
