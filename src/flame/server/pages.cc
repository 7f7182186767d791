#include "flame/server/pages.h"

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"

namespace flame {

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

}  // namespace flame
