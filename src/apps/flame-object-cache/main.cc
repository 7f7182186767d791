// flame-object-cache: the server program. Reads the configuration, builds the objects
// bottom up, serves until a signal, tears down in the opposite order. Exit codes: 0
// stopped or printed what was asked for, 1 could not start or stop cleanly, 2 bad command
// line.
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/cache/cache.h"
#include "flame/cache/maintenance.h"
#include "flame/config/load.h"
#include "flame/flight/service.h"
#include "flame/flight/tls.h"
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

arrow::Result<std::unique_ptr<Store>> OpenMemoryStore(const ServerConfig& config) {
  MemoryStoreOptions options;
  // Without a port of its own the server has no name that a restart could be recognised
  // by.
  if (config.bind.port != 0) {
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
          fmt::format("{}/object-cache-{}-{}.versions", config.runtime_dir,
                      config.bind.host, config.bind.port);
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

CacheOptions CacheOptionsOf(const ServerConfig& config) {
  CacheOptions options;
  options.durability = config.sync == ServerConfig::Sync::kAlways ? Durability::kDisk
                                                                  : Durability::kProcess;
  options.max_patches = static_cast<int32_t>(config.patches_max);
  options.max_tombstones = config.tombstones_max;
  return options;
}

/// Where and how to listen.
arrow::Result<arrow::flight::FlightServerOptions> ListenOptions(
    const ServerConfig& config) {
  std::optional<TlsCredentials> tls;
  if (config.endpoint.tls()) {
    ARROW_ASSIGN_OR_RAISE(
        tls, LoadTlsCredentials(
                 {config.tls.cert_file, config.tls.key_file, config.tls.client_ca_file},
                 config.advertise.host, *Clock::System()));
  }
  ARROW_ASSIGN_OR_RAISE(const auto location, arrow::flight::Location::Parse(
                                                 (tls ? "grpc+tls://" : "grpc+tcp://") +
                                                 FormatHostPort(config.bind)));
  arrow::flight::FlightServerOptions options(location);
  if (!tls) return options;
  for (const std::string& warning : tls->warnings) FLAME_LOG_WARN(server, "{}", warning);
  options.tls_certificates = {{std::move(tls->certificates), std::move(tls->key)}};
  options.verify_client = !tls->client_cas.empty();
  options.root_certificates = std::move(tls->client_cas);
  return options;
}

/// Waits for SIGTERM or SIGINT on a thread of its own, then stops the service: nothing
/// new is let in, what runs is waited for until the drain time-out.
class Stopper {
 public:
  /// REQUIRES: the signals are blocked in every thread.
  Stopper(const sigset_t& signals, Cache* cache, FlightService* service,
          std::chrono::milliseconds drain)
      : thread_([=] {
          int signal = 0;
          sigwait(&signals, &signal);
          FLAME_LOG_INFO(server, "{}: stopping; waiting up to {} ms for what is running",
                         strsignal(signal), drain.count());
          cache->StopWaiting();
          const auto deadline = std::chrono::system_clock::now() + drain;
          const arrow::Status status = service->Shutdown(&deadline);
          if (!status.ok()) FLAME_LOG_WARN(server, "shutdown: {}", status.ToString());
        }) {}
  ~Stopper() { thread_.join(); }

 private:
  std::thread thread_;
};

arrow::Status Serve(const ServerConfig& config, const sigset_t& signals) {
  ARROW_RETURN_NOT_OK(SetUpLogging(config.log));
  QuietLibraries();
  for (const std::string& warning : config.warnings)
    FLAME_LOG_WARN(server, "{}", warning);
  for (const char* setting : {"cache.eviction.policy", "cache.eviction.max_memory",
                              "cache.eviction.max_objects"}) {
    if (config.IsGiven(setting)) {
      FLAME_LOG_WARN(server, "{} has no effect yet: this version evicts nothing",
                     setting);
    }
  }
  ARROW_RETURN_NOT_OK(CheckCanListen(config.bind));
  ARROW_ASSIGN_OR_RAISE(const auto listen, ListenOptions(config));
  // First, so that it goes last: what the store keeps lies in it.
  const auto pool = MakeHeapPool();
  ARROW_ASSIGN_OR_RAISE(const auto store, OpenStore(config));
  const AllowAll authorizer;
  Cache cache(store.get(), pool.get(), Clock::System(), &authorizer,
              CacheOptionsOf(config));
  const Maintenance maintenance(&cache, store.get(), config.tombstone_age);
  Budget budget(config.limits.in_flight);
  FlightService service(&cache, &budget,
                        {"", kVersion, FormatStorageUrl(config.storage), store->id(),
                         Clock::System()->WallMs()});

  ARROW_RETURN_NOT_OK(service.Init(listen));
  const std::string url = config.AdvertisedUrl(service.port());
  service.set_endpoint(url);
  {
    Stopper stopper(signals, &cache, &service, config.drain_timeout);
    fmt::print("flame-object-cache {} ready on {} (listening on {}, storage {})\n",
               kVersion, url, FormatHostPort({config.bind.host, service.port()}),
               FormatStorageUrl(config.storage));
    std::fflush(stdout);
    ARROW_RETURN_NOT_OK(service.Serve());
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
