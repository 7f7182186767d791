#include "flame/server/cache_server.h"

#include <cstdlib>
#include <optional>

#include <fmt/format.h>

#include "flame/base/log.h"
#include "flame/base/mutex.h"
#include "flame/base/unix_socket.h"
#include "flame/cache/cache.h"
#include "flame/cache/maintenance.h"
#include "flame/flight/idle_exit.h"
#include "flame/flight/service.h"
#include "flame/server/cache_options.h"
#include "flame/server/doors.h"
#include "flame/server/pages.h"

namespace flame {
namespace {

using arrow::Status;

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

}  // namespace

/// In the order in which they are built; they go in the opposite one.
struct CacheServer::Parts {
  Parts(const ServerConfig& configuration, const std::string& version)
      : config(configuration),
        metrics(version),
        budget(configuration.limits.in_flight),
        shared(configuration.limits.in_flight) {}

  const ServerConfig config;
  // From the start, and to the end: what is not ready says so.
  Readiness readiness;
  MetricsPage metrics;
  std::unique_ptr<HttpServer> http;
  // First, so that it goes last: what the store keeps lies in it.
  const std::unique_ptr<BufferPool> pool = MakeHeapPool();
  std::unique_ptr<Store> store;
  const AllowAll authorizer;
  std::optional<Cache> cache;
  std::optional<StoreCheck> store_check;
  std::optional<Maintenance> maintenance;
  Budget budget;
  FlightShared shared;
  std::optional<MetricsPage::Watch> watch;
  FlightServiceOptions about;
  std::unique_ptr<IdleExit> idle;
  std::unique_ptr<UnixSocket> socket;
  Doors doors;
  std::string url, description;

  Mutex mutex;
  CondVar stopped_changed;
  bool stopping GUARDED_BY(mutex) = false;
  bool stopped GUARDED_BY(mutex) = false;

  Status Open(const std::string& version, std::function<void()> on_idle);
};

Status CacheServer::Parts::Open(const std::string& version,
                                std::function<void()> on_idle) {
  if (config.ListensOnTcp()) ARROW_RETURN_NOT_OK(CheckCanListen(config.bind));
  ARROW_ASSIGN_OR_RAISE(const auto tls, LoadTls(config));
  ARROW_ASSIGN_OR_RAISE(http, StartHttp(config, &readiness, &metrics));
  ARROW_ASSIGN_OR_RAISE(store, OpenStore(config));
  cache.emplace(store.get(), pool.get(), Clock::System(), &authorizer,
                CacheOptionsOf(config));
  store_check.emplace(&readiness, store.get());
  maintenance.emplace(&*cache, store.get(), config.tombstone_age);
  watch.emplace(
      &metrics,
      MetricsPage::Sources{
          &*cache, store.get(), &budget, &shared.replies.budget(), {&shared.metrics}});
  about = {"",
           version,
           FormatStorageUrl(config.storage),
           store->id(),
           Clock::System()->WallMs(),
           FlightLimitsOf(config.limits)};
  if (config.exit_when_idle.count() > 0 && on_idle)
    idle = std::make_unique<IdleExit>(Clock::System(), config.exit_when_idle, on_idle);
  if (!config.SocketPath().empty()) {
    ARROW_ASSIGN_OR_RAISE(socket, UnixSocket::Claim(config.SocketPath()));
  }
  ARROW_ASSIGN_OR_RAISE(doors, OpenDoors(
                                   config, tls,
                                   [&] {
                                     return std::make_unique<FlightService>(
                                         &*cache, &budget, &shared, about);
                                   },
                                   [&](arrow::flight::FlightServerOptions* options) {
                                     if (idle)
                                       options->middleware.emplace_back(
                                           "flame.idle", idle->middleware());
                                   }));
  url = config.AdvertisedUrl(doors.front()->port());
  if (config.bind.port == 0) doors.front()->set_endpoint(url);
  readiness.Set(Readiness::State::kServing);
  description = fmt::format("listening on {}, storage {}", Listening(config, doors),
                            FormatStorageUrl(config.storage));
  if (http != nullptr) {
    description += fmt::format(", http http://{}",
                               FormatHostPort({config.http.bind.host, http->port()}));
  }
  return Status::OK();
}

CacheServer::CacheServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

arrow::Result<std::unique_ptr<CacheServer>> CacheServer::Start(
    const ServerConfig& config, const std::string& version,
    std::function<void()> on_idle) {
  auto parts = std::make_unique<Parts>(config, version);
  ARROW_RETURN_NOT_OK(parts->Open(version, std::move(on_idle)));
  return std::unique_ptr<CacheServer>(new CacheServer(std::move(parts)));
}

CacheServer::~CacheServer() { Stop(); }

const std::string& CacheServer::url() const { return parts_->url; }
const std::string& CacheServer::description() const { return parts_->description; }

void CacheServer::Stop() {
  Parts& parts = *parts_;
  {
    MutexLock lock(parts.mutex);
    if (std::exchange(parts.stopping, true)) {
      while (!parts.stopped) parts.stopped_changed.Wait(lock);
      return;
    }
  }
  parts.readiness.Set(Readiness::State::kStopping);
  parts.cache->StopWaiting();
  const auto deadline = std::chrono::system_clock::now() + parts.config.drain_timeout;
  for (const auto& door : parts.doors) {
    const Status status = door->Shutdown(&deadline);
    if (!status.ok()) FLAME_LOG_WARN(server, "shutdown: {}", status.ToString());
  }
  MutexLock lock(parts.mutex);
  parts.stopped = true;
  parts.stopped_changed.NotifyAll();
}

Status CacheServer::Wait() {
  Parts& parts = *parts_;
  for (const auto& door : parts.doors) ARROW_RETURN_NOT_OK(door->Wait());
  {
    MutexLock lock(parts.mutex);
    while (parts.stopping && !parts.stopped) parts.stopped_changed.Wait(lock);
  }
  return parts.cache->Close();
}

void QuietLibraries() {
  const auto level = LibraryLogLevel("grpc");
  const char* verbosity = level <= spdlog::level::debug  ? "DEBUG"
                          : level <= spdlog::level::info ? "INFO"
                          : level <= spdlog::level::err  ? "ERROR"
                                                         : "NONE";
  setenv("GRPC_VERBOSITY", verbosity, /*overwrite=*/0);
}

}  // namespace flame
