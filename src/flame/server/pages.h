// The pages for monitoring: what is served over HTTP.
#pragma once

#include <memory>

#include <arrow/result.h>

#include "flame/config/server_config.h"
#include "flame/http/http_server.h"
#include "flame/http/metrics_page.h"
#include "flame/http/readiness.h"

namespace flame {

/// Null when they are off, or the default port is taken; kInvalid when one that was set
/// is. `readiness` and `metrics` are borrowed and must outlive the server.
arrow::Result<std::unique_ptr<HttpServer>> StartHttp(const ServerConfig& config,
                                                     const Readiness* readiness,
                                                     const MetricsPage* metrics);

}  // namespace flame
