// flame-object-cache: the server program. Reads the configuration, builds the objects
// bottom up, serves until a signal, tears down in the opposite order. Exit codes: 0
// stopped or printed what was asked for, 1 could not start or stop cleanly, 2 bad command
// line.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "doors.h"
#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/base/unix_socket.h"
#include "flame/cache/cache.h"
#include "flame/cache/maintenance.h"
#include "flame/config/duration.h"
#include "flame/config/load.h"
#include "flame/flight/idle_exit.h"
#include "flame/flight/service.h"
#include "options.h"
#include "pages.h"

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
