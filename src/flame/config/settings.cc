#include "flame/config/settings.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>
#include <type_traits>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/size.h"
#include "flame/config/duration.h"
#include "flame/config/host.h"
#include "flame/config/server_config.h"

namespace flame {
namespace {

using arrow::Status;
using Text = std::string_view;
using Config = ServerConfig;
using Printed = std::optional<std::string>;

// Readers of values. Each leaves its target alone on an error.

/// More than fits is as good as what fits.
Status ReadBytes(Text text, int64_t* bytes) {
  ARROW_ASSIGN_OR_RAISE(const uint64_t size, ParseSize(text));
  *bytes =
      static_cast<int64_t>(std::min<uint64_t>(size, std::numeric_limits<int64_t>::max()));
  return Status::OK();
}

Status ReadCount(Text text, int64_t* count) {
  uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return InvalidError(fmt::format("'{}' is not a whole number", text));
  }
  *count = static_cast<int64_t>(
      std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
  return Status::OK();
}

/// A share of the whole: at least 0, below 1.
Status ReadShare(Text text, double* share) {
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() ||
      !(value >= 0 && value < 1)) {
    return InvalidError(fmt::format("'{}' is not a share from 0 to below 1", text));
  }
  *share = value;
  return Status::OK();
}

Status ReadDuration(Text text, std::chrono::milliseconds* duration) {
  return ParseDuration(text).Value(duration);
}

template <typename Value>
struct Choice {
  Text name;
  Value value;
};

/// One of the `choices`, in any case.
template <typename Value, size_t kCount>
Status ReadChoice(Text text, const Choice<Value> (&choices)[kCount],
                  std::type_identity_t<Value>* value) {
  std::string names;
  for (const Choice<Value>& choice : choices) {
    if (std::equal(text.begin(), text.end(), choice.name.begin(), choice.name.end(),
                   [](unsigned char a, char b) { return std::tolower(a) == b; })) {
      *value = choice.value;
      return Status::OK();
    }
    names += fmt::format("{}{}", names.empty() ? "" : " or ", choice.name);
  }
  return InvalidError(fmt::format("'{}' is not known; it is {}", text, names));
}

template <typename Value, size_t kCount>
std::optional<std::string> PrintChoice(const std::type_identity_t<Value>& value,
                                       const Choice<Value> (&choices)[kCount]) {
  for (const Choice<Value>& choice : choices) {
    if (choice.value == value) return std::string(choice.name);
  }
  return std::nullopt;
}

Status ReadFolder(Text text, const Host& host, std::string* folder) {
  if (text.empty()) return InvalidError("it is empty");
  ARROW_ASSIGN_OR_RAISE(
      const StorageUrl url,
      ParseStorageUrl(fmt::format("file://{}", text), host.WorkingDirectory(), ""));
  *folder = url.path;
  return Status::OK();
}

Printed Unless(bool unset, std::string text) {
  return unset ? Printed() : Printed(std::move(text));
}

using Sync = Config::Sync;
using Policy = Config::Eviction::Policy;
using Compression = Config::Compression;
constexpr Choice<Compression> kCompressions[] = {{"none", Compression::kNone},
                                                 {"lz4", Compression::kLz4},
                                                 {"zstd", Compression::kZstd}};
constexpr Choice<Sync> kSyncs[] = {{"never", Sync::kNever}, {"always", Sync::kAlways}};
constexpr Choice<Policy> kPolicies[] = {
    {"lru", Policy::kLru}, {"s3fifo", Policy::kS3Fifo}, {"none", Policy::kNone}};
constexpr Choice<LogFormat> kFormats[] = {{"text", LogFormat::kText},
                                          {"json", LogFormat::kJson}};

// The table.

constexpr Text kNetwork = "Network";
constexpr Text kHttp = "HTTP";
constexpr Text kStorage = "Storage";
constexpr Text kMemory = "Memory";
constexpr Text kTls = "TLS";
constexpr Text kProcess = "Logs and process";

constexpr Setting kSettings[] = {
    {"cache.endpoint", "--endpoint", "FLAME_CACHE_ENDPOINT", "URL", kNetwork,
     "grpc://127.0.0.1:9090",
     "The server as clients know it: grpc://HOST:PORT, grpcs:// with TLS, or "
     "grpc+unix:///PATH for a Unix socket. Where to listen and what to advertise follow "
     "from it unless set below. Port 0 takes any free port.",
     [](Text text, const Host&, Config* config) {
       return ParseEndpoint(text).Value(&config->endpoint);
     },
     [](const Config& config) { return Printed(FormatEndpoint(config.endpoint)); }},

    {"cache.bind", "--bind", "FLAME_CACHE_BIND", "HOST[:PORT]", kNetwork,
     "from network_interface, else endpoint",
     "Where to listen; 0.0.0.0 is every IPv4 address, [::] every address. Without a "
     "port, the endpoint's.",
     [](Text text, const Host&, Config* config) {
       config->bind = {};
       return text.empty() ? Status::OK() : ParseHostPort(text).Value(&config->bind);
     },
     [](const Config& config) {
       return Unless(config.bind.host.empty(), FormatHostPort(config.bind));
     }},

    {"cache.advertise", "--advertise", "FLAME_CACHE_ADVERTISE", "HOST[:PORT]", kNetwork,
     "from network_interface, else endpoint",
     "What clients are told to connect to: a host, HOST:PORT or a URL. Without a port, "
     "the one listened on.",
     [](Text text, const Host&, Config* config) -> Status {
       config->advertise = {"", "", -1};
       if (text.empty()) return Status::OK();
       ARROW_ASSIGN_OR_RAISE(config->advertise, ParseEndpoint(text, -1));
       if (text.find("://") == Text::npos) config->advertise.scheme.clear();
       return Status::OK();
     },
     [](const Config& config) {
       return Unless(config.advertise.host.empty() && !config.advertise.is_unix(),
                     config.AdvertisedUrl(config.bind.port > 0 ? config.bind.port : -1));
     }},

    {"cache.network_interface", "--network-interface", "FLAME_CACHE_NETWORK_INTERFACE",
     "REGEX", kNetwork, "",
     "Name of the network interface whose address bind and advertise default to. A "
     "regular expression: of the "
     "interfaces that it matches as a whole, or else in part, the first one.",
     [](Text text, const Host&, Config* config) {
       config->network_interface = text;
       return Status::OK();
     },
     [](const Config& config) {
       return Unless(config.network_interface.empty(), config.network_interface);
     }},

    {"cache.unix_socket", "--unix-socket", "FLAME_CACHE_UNIX_SOCKET", "PATH", kNetwork,
     "",
     "Listen on this Unix socket as well; only the user who runs the server can connect "
     "to it.",
     [](Text text, const Host&, Config* config) -> Status {
       if (!text.empty()) ARROW_RETURN_NOT_OK(CheckSocketPath(text));
       config->unix_socket = text;
       return Status::OK();
     },
     [](const Config& config) {
       return Unless(config.unix_socket.empty(), config.unix_socket);
     }},

    {"cache.http.endpoint",
     "--http-endpoint",
     "FLAME_CACHE_HTTP_ENDPOINT",
     "URL|off",
     kHttp,
     "http://127.0.0.1:9092",
     "Where /metrics, /healthz and /readyz are served: http://HOST:PORT. Port 0 takes "
     "any "
     "free port; off serves nothing. When the default port is taken, the server runs "
     "without; one that is set must be free.",
     [](Text text, const Host&, Config* config) -> Status {
       if (text == "off") {
         config->http.endpoint.reset();
         return Status::OK();
       }
       ARROW_ASSIGN_OR_RAISE(config->http.endpoint, ParseHttpEndpoint(text));
       return Status::OK();
     },
     [](const Config& config) {
       return Printed(config.http.endpoint ? FormatEndpoint(*config.http.endpoint)
                                           : "off");
     },
     {},
     {},
     "--metrics-listen"},

    {"cache.storage", "--storage", "FLAME_CACHE_STORAGE", "URL", kStorage,
     "fs:// and the user's data folder",
     "Where objects outlive the server: fs:///PATH or a path. none keeps them in memory "
     "only, which is also the "
     "default where there is a configuration file.",
     [](Text text, const Host& host, Config* config) {
       const std::string home = host.Env("FLAME_HOME").value_or("/var/lib/flame");
       return ParseStorageUrl(text, home, host.WorkingDirectory())
           .Value(&config->storage);
     },
     [](const Config& config) { return Printed(FormatStorageUrl(config.storage)); }},

    {"cache.sync", "--sync", "FLAME_CACHE_SYNC", "never|always", kStorage, "never",
     "always: an acknowledged write survives power loss too, at the speed of the disk. "
     "never: it survives the death of "
     "the server.",
     [](Text text, const Host&, Config* config) {
       return ReadChoice(text, kSyncs, &config->sync);
     },
     [](const Config& config) { return PrintChoice(config.sync, kSyncs); }},

    {"cache.pack_below", "--pack-below", "FLAME_CACHE_PACK_BELOW", "SIZE", kStorage,
     "64K",
     "Objects smaller than this are packed together instead of having a file each. 0: a "
     "file for each.",
     [](Text text, const Host&, Config* config) {
       return ReadBytes(text, &config->pack_below);
     },
     [](const Config& config) { return Printed(FormatSize(config.pack_below)); }},

    {"cache.compression", "--compression", "FLAME_CACHE_COMPRESSION", "none|lz4|zstd",
     kStorage, "none",
     "Compress what is stored. lz4 costs little time, zstd saves more space. Every "
     "reader "
     "of the files undoes it.",
     [](Text text, const Host&, Config* config) {
       return ReadChoice(text, kCompressions, &config->compression);
     },
     [](const Config& config) {
       return Printed(
           std::string(kCompressions[static_cast<size_t>(config.compression)].name));
     }},

    {"cache.compression_min_size", "--compression-min-size",
     "FLAME_CACHE_COMPRESSION_MIN_SIZE", "SIZE", kStorage, "64K",
     "Files of smaller objects are not compressed.",
     [](Text text, const Host&, Config* config) {
       return ReadBytes(text, &config->compression_min_size);
     },
     [](const Config& config) {
       return Printed(FormatSize(config.compression_min_size));
     }},

    {"cache.compression_min_gain", "--compression-min-gain",
     "FLAME_CACHE_COMPRESSION_MIN_GAIN", "SHARE", kStorage, "0.1",
     "Files that would not become smaller by this share are not compressed.",
     [](Text text, const Host&, Config* config) {
       return ReadShare(text, &config->compression_min_gain);
     },
     [](const Config& config) {
       return Printed(fmt::format("{}", config.compression_min_gain));
     }},

    {"cache.patches_max", "--patches-max", "FLAME_CACHE_PATCHES_MAX", "COUNT", kStorage,
     "1000", "Patches of one object; beyond it the object must be put anew.",
     [](Text text, const Host&, Config* config) {
       return ReadCount(text, &config->patches_max);
     },
     [](const Config& config) { return Printed(fmt::format("{}", config.patches_max)); }},

    {"cache.runtime_dir", "--runtime-dir", "FLAME_CACHE_RUNTIME_DIR", "PATH", kStorage,
     "$XDG_RUNTIME_DIR/flame, /run/flame or /tmp/flame-UID",
     "Folder of a small file that lets versions go on rising over a restart with storage "
     "none.",
     [](Text text, const Host& host, Config* config) {
       return ReadFolder(text, host, &config->runtime_dir);
     },
     [](const Config& config) { return Printed(config.runtime_dir); }},

    {"cache.tombstones_max", "--tombstones-max", "FLAME_CACHE_TOMBSTONES_MAX", "COUNT",
     kStorage, "100000",
     "So many deleted keys are remembered one by one, so that a key that comes back goes "
     "on from its last version. "
     "Those beyond are folded together: their keys go on from a higher one.",
     [](Text text, const Host&, Config* config) {
       return ReadCount(text, &config->tombstones_max);
     },
     [](const Config& config) {
       return Printed(fmt::format("{}", config.tombstones_max));
     }},

    {"cache.tombstone_age", "--tombstone-age", "FLAME_CACHE_TOMBSTONE_AGE", "DURATION",
     kStorage, "24h", "Deleted keys are remembered one by one for so long.",
     [](Text text, const Host&, Config* config) {
       return ReadDuration(text, &config->tombstone_age);
     },
     [](const Config& config) { return Printed(FormatDuration(config.tombstone_age)); }},

    {"cache.eviction.policy", "--eviction-policy", "FLAME_CACHE_EVICTION_POLICY",
     "lru|s3fifo|none", kMemory, "lru",
     "Which objects leave memory first: least recently used; S3-FIFO, which withstands "
     "scans; none: none ever does, the limits below are off.",
     [](Text text, const Host&, Config* config) {
       return ReadChoice(text, kPolicies, &config->eviction.policy);
     },
     [](const Config& config) { return PrintChoice(config.eviction.policy, kPolicies); }},

    {"cache.eviction.max_memory", "--max-memory", "FLAME_CACHE_MAX_MEMORY", "SIZE",
     kMemory, "half of the memory; 1G with a file",
     "Bytes that objects in memory may take, with what is held about each.",
     [](Text text, const Host&, Config* config) -> Status {
       int64_t bytes = 0;
       ARROW_RETURN_NOT_OK(ReadBytes(text, &bytes));
       config->eviction.max_memory = bytes;
       return Status::OK();
     },
     [](const Config& config) {
       return Unless(!config.eviction.max_memory,
                     FormatSize(config.eviction.max_memory.value_or(0)));
     },
     "FLAME_CACHE_CAPACITY", "cache.capacity"},

    {"cache.eviction.max_objects", "--max-objects", "FLAME_CACHE_MAX_OBJECTS", "COUNT",
     kMemory, "", "Number of objects that may be in memory.",
     [](Text text, const Host&, Config* config) -> Status {
       int64_t count = 0;
       ARROW_RETURN_NOT_OK(ReadCount(text, &count));
       config->eviction.max_objects = count;
       return Status::OK();
     },
     [](const Config& config) {
       return Unless(!config.eviction.max_objects,
                     fmt::format("{}", config.eviction.max_objects.value_or(0)));
     }},

    {"cache.limits.in_flight", "--limits-in-flight", "FLAME_CACHE_LIMITS_IN_FLIGHT",
     "SIZE", kMemory, "a quarter of the memory",
     "Bytes of requests being worked on at once; beyond it requests wait.",
     [](Text text, const Host&, Config* config) {
       return ReadBytes(text, &config->limits.in_flight);
     },
     [](const Config& config) { return Printed(FormatSize(config.limits.in_flight)); }},

    {"cache.limits.object", "--limits-object", "FLAME_CACHE_LIMITS_OBJECT", "SIZE",
     kMemory, "limits.in_flight",
     "Bytes of the largest object, patches included: a put or patch that would make it "
     "larger is refused. By default only a single put or patch is bounded.",
     [](Text text, const Host&, Config* config) -> Status {
       int64_t bytes = 0;
       ARROW_RETURN_NOT_OK(ReadBytes(text, &bytes));
       config->limits.object = bytes;
       return Status::OK();
     },
     [](const Config& config) {
       return Printed(FormatSize(config.limits.object.value_or(config.limits.in_flight)));
     }},

    {"cache.limits.streams", "--limits-streams", "FLAME_CACHE_LIMITS_STREAMS", "COUNT",
     kMemory, "2048", "Calls that may run at once; one more is refused.",
     [](Text text, const Host&, Config* config) {
       return ReadCount(text, &config->limits.streams);
     },
     [](const Config& config) {
       return Printed(fmt::format("{}", config.limits.streams));
     }},

    {"cache.limits.list_objects", "--limits-list-objects",
     "FLAME_CACHE_LIMITS_LIST_OBJECTS", "COUNT", kMemory, "100000",
     "Objects or events in one page of a list or feed, and items in one batch; a request "
     "for more is refused.",
     [](Text text, const Host&, Config* config) {
       return ReadCount(text, &config->limits.list_objects);
     },
     [](const Config& config) {
       return Printed(fmt::format("{}", config.limits.list_objects));
     }},

    {"cache.limits.list_bytes", "--limits-list-bytes", "FLAME_CACHE_LIMITS_LIST_BYTES",
     "SIZE", kMemory, "64M",
     "Bytes in one page of a list or feed, and in the reply to one batch; a page that "
     "would be larger ends early, and the next one goes on from there.",
     [](Text text, const Host&, Config* config) {
       return ReadBytes(text, &config->limits.list_bytes);
     },
     [](const Config& config) { return Printed(FormatSize(config.limits.list_bytes)); }},

    {"cache.tls.cert_file", "--tls-cert-file", "FLAME_CACHE_TLS_CERT_FILE", "PATH", kTls,
     "", "The server's certificate chain (PEM). Goes with the key.",
     [](Text text, const Host&, Config* config) {
       config->tls.cert_file = text;
       return Status::OK();
     },
     [](const Config& config) {
       return Unless(config.tls.cert_file.empty(), config.tls.cert_file);
     }},

    {"cache.tls.key_file", "--tls-key-file", "FLAME_CACHE_TLS_KEY_FILE", "PATH", kTls, "",
     "The certificate's private key (PEM).",
     [](Text text, const Host&, Config* config) {
       config->tls.key_file = text;
       return Status::OK();
     },
     [](const Config& config) {
       return Unless(config.tls.key_file.empty(), config.tls.key_file);
     }},

    {"cache.tls.client_ca_file", "--tls-client-ca-file", "FLAME_CACHE_TLS_CLIENT_CA_FILE",
     "PATH", kTls, "",
     "Ask clients for a certificate that one of these (PEM) has signed.",
     [](Text text, const Host&, Config* config) {
       config->tls.client_ca_file = text;
       return Status::OK();
     },
     [](const Config& config) {
       return Unless(config.tls.client_ca_file.empty(), config.tls.client_ca_file);
     }},

    {"cache.tls.ca_file", "--tls-ca-file", "FLAME_CACHE_TLS_CA_FILE", "PATH", kTls, "",
     "Accepted because files shared with clients have it; not used by the server.",
     [](Text text, const Host&, Config* config) {
       config->tls.ca_file = text;
       return Status::OK();
     },
     [](const Config& config) {
       return Unless(config.tls.ca_file.empty(), config.tls.ca_file);
     }},

    {"cache.log.level", "--log-level", "FLAME_LOG", "FILTER", kProcess, "info",
     "off, error, warn, info, debug or trace; also by target, as in "
     "info,flame.cache=debug,grpc=warn.",
     [](Text text, const Host&, Config* config) {
       config->log.level = LogOptions().level;
       config->log.targets.clear();
       config->log_filter = text;
       return ParseLogFilter(text, &config->log);
     },
     [](const Config& config) { return Printed(config.log_filter); }, "RUST_LOG"},

    {"cache.log.format", "--log-format", "FLAME_LOG_FORMAT", "text|json", kProcess,
     "text", "Lines for people, or a JSON document per line.",
     [](Text text, const Host&, Config* config) {
       return ReadChoice(text, kFormats, &config->log.format);
     },
     [](const Config& config) {
       return Printed(config.log.format == LogFormat::kJson ? "json" : "text");
     }},

    {"cache.log.file", "--log-file", "FLAME_LOG_FILE", "PATH", kProcess, "",
     "Also append the log to this file. It always goes to standard error.",
     [](Text text, const Host&, Config* config) {
       config->log.file = text;
       return Status::OK();
     },
     [](const Config& config) {
       return Unless(config.log.file.empty(), config.log.file);
     }},

    {"cache.drain_timeout", "--drain-timeout", "FLAME_CACHE_DRAIN_TIMEOUT", "DURATION",
     kProcess, "10s",
     "On SIGTERM, wait so long for the requests that are being answered.",
     [](Text text, const Host&, Config* config) {
       return ReadDuration(text, &config->drain_timeout);
     },
     [](const Config& config) { return Printed(FormatDuration(config.drain_timeout)); }},

    {"cache.exit_when_idle", "--exit-when-idle", "FLAME_CACHE_EXIT_WHEN_IDLE", "DURATION",
     kProcess, "never",
     "Stop, with exit code 0, after so long without a call. never or 0: go on.",
     [](Text text, const Host&, Config* config) -> Status {
       if (text != "never") return ReadDuration(text, &config->exit_when_idle);
       config->exit_when_idle = {};
       return Status::OK();
     },
     [](const Config& config) {
       return Printed(config.exit_when_idle.count() == 0
                          ? "never"
                          : FormatDuration(config.exit_when_idle));
     }},
};

}  // namespace

std::span<const Setting> Settings() { return kSettings; }

}  // namespace flame
