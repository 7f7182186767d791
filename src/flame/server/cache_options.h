// What the configuration means to the parts that the program is built from.
#pragma once

#include <memory>

#include <arrow/result.h>

#include "flame/cache/cache.h"
#include "flame/config/server_config.h"
#include "flame/flight/limits.h"
#include "flame/storage/store.h"

namespace flame {

arrow::Result<std::unique_ptr<Store>> OpenStore(const ServerConfig& config);
CacheOptions CacheOptionsOf(const ServerConfig& config);
FlightLimits FlightLimitsOf(const ServerConfig::Limits& limits);

}  // namespace flame
