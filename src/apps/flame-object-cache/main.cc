// flame-object-cache: the server program. Reads the configuration, starts the cache,
// serves until a signal. Exit codes: 0 stopped or printed what was asked for, 1 could not
// start or stop cleanly, 2 bad command line.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <thread>

#include <fmt/format.h>

#include "flame/base/log.h"
#include "flame/config/duration.h"
#include "flame/config/load.h"
#include "flame/server/cache_server.h"

namespace flame {
namespace {

constexpr char kVersion[] = FLAME_VERSION;

arrow::Status Serve(const ServerConfig& config, const sigset_t& signals) {
  ARROW_RETURN_NOT_OK(SetUpLogging(config.log));
  QuietLibraries();
  for (const std::string& warning : config.warnings)
    FLAME_LOG_WARN(server, "{}", warning);
  ARROW_ASSIGN_OR_RAISE(
      const auto server, CacheServer::Start(config, kVersion, [&config] {
        FLAME_LOG_INFO(server, "no call for {}", FormatDuration(config.exit_when_idle));
        kill(getpid(), SIGTERM);  // The one way to stop.
      }));
  // Its own thread: this one hears of doors that fail, too.
  std::thread stopper([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    FLAME_LOG_INFO(server, "{}: stopping; waiting up to {} ms for what is running",
                   strsignal(signal), config.drain_timeout.count());
    server->Stop();
  });
  fmt::print("flame-object-cache {} ready on {} ({})\n", kVersion, server->url(),
             server->description());
  std::fflush(stdout);
  const arrow::Status status = server->Wait();
  if (!status.ok()) kill(getpid(), SIGTERM);
  stopper.join();
  ARROW_RETURN_NOT_OK(status);
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
