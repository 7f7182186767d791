// flame-object-cache: the server program. Reads the configuration, builds the objects
// bottom up, serves until a signal, tears down in the opposite order. Exit codes: 0
// stopped or printed what was asked for, 1 could not start or stop cleanly, 2 bad command
// line.
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/base/unix_socket.h"
#include "flame/cache/cache.h"
#include "flame/cache/maintenance.h"
#include "flame/config/duration.h"
#include "flame/config/load.h"
#include "flame/flight/idle_exit.h"
#include "flame/flight/service.h"
#include "flame/flight/tls.h"
#include "flame/http/http_server.h"
#include "flame/http/metrics_page.h"
#include "flame/http/readiness.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/memory_store.h"

namespace flame {
namespace {

constexpr char kVersion[] = FLAME_VERSION;

/// gRPC logs by its own rules: silent unless the log filter names it.
void QuietLibraries() {
  const auto level = LibraryLogLevel("grpc");
  const char* verbosity = level <= spdlog::level::debug  ? "DEBUG"
                          : level <= spdlog::level::info ? "INFO"
                          : level <= spdlog::level::err  ? "ERROR"
                                                         : "NONE";
  setenv("GRPC_VERBOSITY", verbosity, /*overwrite=*/0);
}

/// gRPC only says that it could not start: find out why before it tries.
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

/// By which a restart is recognised; empty without a port of one's own.
std::string NameOf(const ServerConfig& config) {
  if (config.ListensOnTcp()) {
    return config.bind.port == 0
               ? ""
               : fmt::format("{}-{}", config.bind.host, config.bind.port);
  }
  std::string name = "unix" + config.endpoint.path;
  std::replace(name.begin(), name.end(), '/', '-');
  return name;
}

arrow::Result<std::unique_ptr<Store>> OpenMemoryStore(const ServerConfig& config) {
  MemoryStoreOptions options;
  const std::string name = NameOf(config);
  if (!name.empty()) {
    std::error_code error;
    std::filesystem::create_directories(config.runtime_dir, error);
    if (error) {
      FLAME_LOG_WARN(server,
                     "cannot create {} ({}): after a restart versions of deleted or lost "
                     "objects may "
                     "be used again; set cache.runtime_dir",
                     config.runtime_dir, error.message());
    } else {
      options.runtime_file =
          fmt::format("{}/object-cache-{}.versions", config.runtime_dir, name);
    }
  }
  return MemoryStore::Open(options);
}

arrow::Result<std::unique_ptr<Store>> OpenStore(const ServerConfig& config) {
  if (config.storage.kind == StorageUrl::Kind::kNone) return OpenMemoryStore(config);
  FsStoreOptions options;
  options.root = config.storage.path;
  options.pack_below = config.pack_below;
  options.sync_always = config.sync == ServerConfig::Sync::kAlways;
  return FsStore::Open(options);
}

EvictionOptions EvictionOptionsOf(const ServerConfig::Eviction& config) {
  EvictionOptions options;
  switch (config.policy) {
    case ServerConfig::Eviction::Policy::kLru:
      options.policy = EvictionOptions::Policy::kLru;
      break;
    case ServerConfig::Eviction::Policy::kS3Fifo:
      options.policy = EvictionOptions::Policy::kS3Fifo;
      break;
    case ServerConfig::Eviction::Policy::kNone:
      options.policy = EvictionOptions::Policy::kNone;
      break;
  }
  options.max_bytes = config.max_memory;
  options.max_objects = config.max_objects;
  return options;
}

CacheOptions CacheOptionsOf(const ServerConfig& config) {
  CacheOptions options;
  options.durability = config.sync == ServerConfig::Sync::kAlways ? Durability::kDisk
                                                                  : Durability::kProcess;
  options.max_patches = static_cast<int32_t>(config.patches_max);
  options.max_tombstones = config.tombstones_max;
  options.eviction = EvictionOptionsOf(config.eviction);
  return options;
}

FlightLimits FlightLimitsOf(const ServerConfig::Limits& limits) {
  return {.object = limits.object.value_or(limits.in_flight),
          .streams = limits.streams,
          .list_objects = limits.list_objects,
          .list_bytes = limits.list_bytes};
}

/// The pages for monitoring; null when they are off, or the default port is taken.
arrow::Result<std::unique_ptr<HttpServer>> StartHttp(const ServerConfig& config,
                                                     const Readiness* readiness,
                                                     const MetricsPage* metrics) {
  if (!config.http.endpoint) return nullptr;
  HttpServerOptions options;
  options.host = config.http.bind.host;
  options.port = config.http.bind.port;
  options.pages = {{"/",
                    [] {
                      return HttpPage{.body =
                                          "flame-object-cache\n\n"
                                          "/metrics  for Prometheus\n"
                                          "/healthz  200 while the process is alive\n"
                                          "/readyz   200 while requests are served\n"};
                    }},
                   {"/healthz", [] { return HttpPage{.body = "alive\n"}; }},
                   {"/readyz", [=] { return readiness->Page(); }},
                   {"/metrics", [=] { return metrics->Page(); }}};
  auto server = HttpServer::Start(std::move(options));
  if (server.ok()) return server;
  const std::string problem =
      fmt::format("cannot serve metrics on {}: {}", FormatHostPort(config.http.bind),
                  server.status().message());
  if (config.IsGiven("cache.http.endpoint")) {
    return InvalidError(
        problem + "; choose another port with --http-endpoint, or turn it off with off");
  }
  FLAME_LOG_WARN(server, "{}; going on without, choose a port with --http-endpoint",
                 problem);
  return nullptr;
}

/// The certificates, checked; nullopt without TLS.
arrow::Result<std::optional<TlsCredentials>> LoadTls(const ServerConfig& config) {
  if (!config.endpoint.tls()) return std::nullopt;
  ARROW_ASSIGN_OR_RAISE(auto tls,
                        LoadTlsCredentials({config.tls.cert_file, config.tls.key_file,
                                            config.tls.client_ca_file},
                                           config.advertise.host, *Clock::System()));
  for (const std::string& warning : tls.warnings) FLAME_LOG_WARN(server, "{}", warning);
  return tls;
}

/// The services that listen, one per address or socket. They share everything else.
using Doors = std::vector<std::unique_ptr<FlightService>>;

/// Opens the one on an address, if it is not all on a socket, and the one on a socket.
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

/// Where it listens, for people: "127.0.0.1:9090 and /run/flame/cache.sock".
std::string Listening(const ServerConfig& config, const Doors& doors) {
  std::string text;
  if (config.ListensOnTcp())
    text = FormatHostPort({config.bind.host, doors.front()->port()});
  if (config.SocketPath().empty()) return text;
  return text + (text.empty() ? "" : " and ") + config.SocketPath();
}

/// Waits for SIGTERM or SIGINT on a thread of its own, then stops the service: nothing
/// new is let in, what runs is waited for until the drain time-out.
class Stopper {
 public:
  /// REQUIRES: the signals are blocked in every thread.
  Stopper(const sigset_t& signals, Cache* cache, const Doors* doors, Readiness* readiness,
          std::chrono::milliseconds drain)
      : thread_([=] {
          int signal = 0;
          sigwait(&signals, &signal);
          FLAME_LOG_INFO(server, "{}: stopping; waiting up to {} ms for what is running",
                         strsignal(signal), drain.count());
          readiness->Set(Readiness::State::kStopping);
          cache->StopWaiting();
          const auto deadline = std::chrono::system_clock::now() + drain;
          for (const auto& door : *doors) {
            const arrow::Status status = door->Shutdown(&deadline);
            if (!status.ok()) FLAME_LOG_WARN(server, "shutdown: {}", status.ToString());
          }
        }) {}
  ~Stopper() { thread_.join(); }

 private:
  std::thread thread_;
};

/// While it lives, a server whose storage refuses writes is not ready.
class StoreCheck {
 public:
  StoreCheck(Readiness* readiness, const Store* store) : readiness_(readiness) {
    readiness_->SetCheck([store]() -> std::optional<std::string> {
      const WriteHealth health = store->write_health();
      if (health.status.ok()) return std::nullopt;
      return "the storage refuses writes: " + health.status.message();
    });
  }
  ~StoreCheck() { readiness_->SetCheck({}); }

 private:
  Readiness* const readiness_;
};

arrow::Status Serve(const ServerConfig& config, const sigset_t& signals) {
  ARROW_RETURN_NOT_OK(SetUpLogging(config.log));
  QuietLibraries();
  for (const std::string& warning : config.warnings)
    FLAME_LOG_WARN(server, "{}", warning);
  if (config.ListensOnTcp()) ARROW_RETURN_NOT_OK(CheckCanListen(config.bind));
  ARROW_ASSIGN_OR_RAISE(const auto tls, LoadTls(config));
  // From the start, and to the end: what is not ready says so.
  Readiness readiness;
  MetricsPage metrics(kVersion);
  ARROW_ASSIGN_OR_RAISE(const auto http, StartHttp(config, &readiness, &metrics));
  // First, so that it goes last: what the store keeps lies in it.
  const auto pool = MakeHeapPool();
  ARROW_ASSIGN_OR_RAISE(const auto store, OpenStore(config));
  const AllowAll authorizer;
  Cache cache(store.get(), pool.get(), Clock::System(), &authorizer,
              CacheOptionsOf(config));
  const StoreCheck store_check(&readiness, store.get());
  const Maintenance maintenance(&cache, store.get(), config.tombstone_age);
  Budget budget(config.limits.in_flight);
  FlightShared shared(config.limits.in_flight);
  const MetricsPage::Watch watch(
      &metrics,
      {&cache, store.get(), &budget, &shared.replies.budget(), {&shared.metrics}});
  const FlightServiceOptions about{"",
                                   kVersion,
                                   FormatStorageUrl(config.storage),
                                   store->id(),
                                   Clock::System()->WallMs(),
                                   FlightLimitsOf(config.limits)};
  std::unique_ptr<IdleExit> idle;
  if (config.exit_when_idle.count() > 0) {
    idle = std::make_unique<IdleExit>(Clock::System(), config.exit_when_idle, [&config] {
      FLAME_LOG_INFO(server, "no call for {}", FormatDuration(config.exit_when_idle));
      kill(getpid(), SIGTERM);  // The one way to stop.
    });
  }
  std::unique_ptr<UnixSocket> socket;
  if (!config.SocketPath().empty()) {
    ARROW_ASSIGN_OR_RAISE(socket, UnixSocket::Claim(config.SocketPath()));
  }
  ARROW_ASSIGN_OR_RAISE(
      const Doors doors,
      OpenDoors(
          config, tls,
          [&] {
            return std::make_unique<FlightService>(&cache, &budget, &shared, about);
          },
          [&](arrow::flight::FlightServerOptions* options) {
            if (idle) options->middleware.emplace_back("flame.idle", idle->middleware());
          }));
  const std::string url = config.AdvertisedUrl(doors.front()->port());
  if (config.bind.port == 0) doors.front()->set_endpoint(url);
  {
    Stopper stopper(signals, &cache, &doors, &readiness, config.drain_timeout);
    readiness.Set(Readiness::State::kServing);
    const std::string http_url =
        http == nullptr
            ? ""
            : fmt::format(", http http://{}",
                          FormatHostPort({config.http.bind.host, http->port()}));
    fmt::print("flame-object-cache {} ready on {} (listening on {}, storage {}{})\n",
               kVersion, url, Listening(config, doors), FormatStorageUrl(config.storage),
               http_url);
    std::fflush(stdout);
    for (const auto& door : doors) ARROW_RETURN_NOT_OK(door->Wait());
  }
  ARROW_RETURN_NOT_OK(cache.Close());
  FLAME_LOG_INFO(server, "stopped");
  return arrow::Status::OK();
}

int Main(int argc, char** argv) {
  // Signals are taken by one thread; every thread started from here on leaves them to it.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const Startup startup =
      LoadServerConfig({argv + 1, argv + argc}, kVersion, *Host::System());
  if (const auto* exit = std::get_if<Exit>(&startup)) {
    std::fputs(exit->text.c_str(), exit->code == 0 ? stdout : stderr);
    return exit->code;
  }
  const arrow::Status status = Serve(std::get<ServerConfig>(startup), signals);
  if (status.ok()) return 0;
  fmt::print(stderr, "Error: {}\n", status.message());
  return 1;
}

}  // namespace
}  // namespace flame

int main(int argc, char** argv) { return flame::Main(argc, argv); }
