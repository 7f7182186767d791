// MetricsPage: everything that the server counts, in Prometheus' text format. Every name
// starts with `flame_`; docs/operating/metrics.md has a row for each.
//
// Names and labels are a contract with dashboards. No label holds what clients choose
// (keys, prefixes, applications), so that the number of series is fixed.
#pragma once

#include <string>

#include "flame/base/metrics.h"
#include "flame/base/mutex.h"
#include "flame/cache/cache.h"
#include "flame/http/http_server.h"
#include "flame/memory/buffer_pool.h"
#include "flame/storage/store.h"

namespace flame {

/// Thread-safe.
class MetricsPage {
 public:
  /// What is looked at. All are borrowed.
  struct Sources {
    const Cache* cache = nullptr;
    const Store* store = nullptr;
    const Budget* uploads = nullptr;
    const Budget* replies = nullptr;
    std::vector<const DoorMetrics*> doors;
  };

  explicit MetricsPage(std::string version) : version_(std::move(version)) {}

  /// While it lives the page shows `sources`; before and after only process and build.
  class Watch {
   public:
    Watch(MetricsPage* page, Sources sources);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    MetricsPage* const page_;
  };

  HttpPage Page() const;

 private:
  const std::string version_;
  mutable Mutex mutex_;  // Held while sources are read: they may go after that.
  std::optional<Sources> sources_ GUARDED_BY(mutex_);
};

}  // namespace flame
