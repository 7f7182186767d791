// CacheServer: an object cache as a whole, from its configuration: storage, cache, doors,
// pages for monitoring. A program of its own has one, or the session manager.
//
// Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <arrow/result.h>

#include "flame/config/server_config.h"

namespace flame {

class CacheServer {
 public:
  /// Serves when it returns. `version` is the program's. `on_idle` is called when nobody
  /// has called for as long as the configuration says.
  static arrow::Result<std::unique_ptr<CacheServer>> Start(
      const ServerConfig& config, const std::string& version,
      std::function<void()> on_idle = {});
  /// Stop(), if nobody did.
  ~CacheServer();

  /// What clients connect to.
  const std::string& url() const;
  /// For people: "listening on ..., storage ..., http ...".
  const std::string& description() const;
  /// Nothing new is let in; what runs is waited for until the drain time-out. Returns
  /// when all of it is over.
  void Stop();
  /// Until somebody has called Stop(), or the doors fail. Then closes the cache.
  arrow::Status Wait();

 private:
  struct Parts;
  explicit CacheServer(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

/// gRPC logs by its own rules: silent unless the log filter names it. REQUIRES: called
/// before gRPC is used, with no other thread.
void QuietLibraries();

}  // namespace flame
