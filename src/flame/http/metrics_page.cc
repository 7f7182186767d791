#include "flame/http/metrics_page.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <sstream>

#include "flame/http/process_stats.h"

namespace flame {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

/// Builds families one after the other.
class Families {
 public:
  void Add(MetricType type, std::string name, std::string help) {
    families_.push_back({std::move(name), std::move(help), type, {}});
  }
  ClientMetric& Metric(Labels labels = {}) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    return metric;
  }
  void Counter(std::string name, std::string help, double value) {
    Add(MetricType::Counter, std::move(name), std::move(help));
    Metric().counter.value = value;
  }
  void Gauge(std::string name, std::string help, double value) {
    Add(MetricType::Gauge, std::move(name), std::move(help));
    Metric().gauge.value = value;
  }
  void Counter(std::string name, std::string help, int64_t value) {
    Counter(std::move(name), std::move(help), static_cast<double>(value));
  }
  void Gauge(std::string name, std::string help, int64_t value) {
    Gauge(std::move(name), std::move(help), static_cast<double>(value));
  }

  std::string Text() const {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, families_);
    return std::move(text).str();
  }

 private:
  std::vector<MetricFamily> families_;
};

void AddHistogram(const LatencyHistogram& histogram, ClientMetric* metric) {
  uint64_t count = 0;
  for (size_t i = 0; i <= LatencyHistogram::kBounds.size(); ++i) {
    count += static_cast<uint64_t>(histogram.count(i));
    const double bound = i < LatencyHistogram::kBounds.size()
                             ? LatencyHistogram::kBounds[i]
                             : std::numeric_limits<double>::infinity();
    metric->histogram.bucket.push_back({count, bound});
  }
  metric->histogram.sample_count = count;
  metric->histogram.sample_sum = histogram.sum_seconds();
}

void AddDoors(const std::vector<const DoorMetrics*>& doors, Families* out) {
  // Every operation of every door.
  const auto each = [&](auto add) {
    for (const DoorMetrics* door : doors) {
      for (size_t i = 0; i < kDoorOperationNames.size(); ++i) {
        add(door->of(static_cast<DoorOperation>(i)),
            Labels{{"door", door->door()},
                   {"operation", std::string(kDoorOperationNames[i])}});
      }
    }
  };
  out->Add(MetricType::Counter, "flame_requests_total", "Calls that have ended.");
  each([&](const DoorMetrics::Operation& operation, Labels labels) {
    int64_t count = 0;
    for (size_t i = 0; i <= LatencyHistogram::kBounds.size(); ++i)
      count += operation.latency.count(i);
    out->Metric(std::move(labels)).counter.value = static_cast<double>(count);
  });
  out->Add(MetricType::Counter, "flame_request_errors_total",
           "Calls, and items of batches, that failed, by error code.");
  each([&](const DoorMetrics::Operation& operation, const Labels& labels) {
    for (size_t i = 0; i < kErrorCodes; ++i) {
      const int64_t count = operation.errors[i].value();
      if (count == 0) continue;
      Labels with_code = labels;
      with_code.push_back(
          {"code", std::string(ErrorCodeName(static_cast<ErrorCode>(i)))});
      out->Metric(std::move(with_code)).counter.value = static_cast<double>(count);
    }
  });
  out->Add(MetricType::Histogram, "flame_request_duration_seconds",
           "From the start of a call to its last byte.");
  each([&](const DoorMetrics::Operation& operation, Labels labels) {
    AddHistogram(operation.latency, &out->Metric(std::move(labels)));
  });
  out->Add(MetricType::Counter, "flame_request_received_bytes_total",
           "Bytes of payload and request bodies that came in.");
  each([&](const DoorMetrics::Operation& operation, Labels labels) {
    out->Metric(std::move(labels)).counter.value =
        static_cast<double>(operation.received_bytes.value());
  });
  out->Add(MetricType::Counter, "flame_request_sent_bytes_total",
           "Bytes of payload and replies that went out.");
  each([&](const DoorMetrics::Operation& operation, Labels labels) {
    out->Metric(std::move(labels)).counter.value =
        static_cast<double>(operation.sent_bytes.value());
  });
  const auto each_door = [&](auto value) {
    for (const DoorMetrics* door : doors)
      value(*door, out->Metric({{"door", door->door()}}));
  };
  out->Add(MetricType::Counter, "flame_incremental_replies_total",
           "Gets answered with the newest patches only.");
  each_door([](const DoorMetrics& door, ClientMetric& metric) {
    metric.counter.value = static_cast<double>(door.incremental.value());
  });
  out->Add(MetricType::Gauge, "flame_running_requests", "Calls that are running.");
  each_door([](const DoorMetrics& door, ClientMetric& metric) {
    metric.gauge.value = static_cast<double>(door.running.load());
  });
  out->Add(MetricType::Gauge, "flame_running_requests_limit",
           "Calls that may run at once (limits.streams).");
  each_door([](const DoorMetrics& door, ClientMetric& metric) {
    metric.gauge.value = static_cast<double>(door.running_limit.load());
  });
}

void AddCache(const Cache::Stats& stats, Families* out) {
  out->Counter("flame_cache_hits_total", "Gets that were answered with an object.",
               stats.hits_total);
  out->Counter("flame_cache_misses_total", "Gets of objects that are not there.",
               stats.misses_total);
  out->Counter("flame_cache_not_modified_total",
               "Gets of a version that the client already had.",
               stats.not_modified_total);
  out->Gauge("flame_cache_resident_objects", "Objects in memory.",
             stats.resident_objects);
  out->Gauge("flame_cache_resident_bytes",
             "Their payload bytes, and what is held about each.", stats.resident_bytes);
  out->Counter("flame_cache_evicted_objects_total", "Objects that left memory for room.",
               stats.evicted_objects_total);
  out->Counter("flame_cache_evicted_bytes_total", "Their payload bytes.",
               stats.evicted_bytes_total);
  out->Counter("flame_cache_expired_objects_total",
               "Objects removed because their time had come.",
               stats.expired_objects_total);
  out->Gauge("flame_cache_tombstones",
             "Deleted keys whose version is remembered one by one.", stats.tombstones);
}

void AddInFlight(const Budget& uploads, const Budget& replies, Families* out) {
  const auto each = [&](auto value) {
    for (const auto& [name, budget] : {std::pair{"in", &uploads}, {"out", &replies}}) {
      out->Metric({{"direction", name}}).gauge.value =
          static_cast<double>(value(*budget));
    }
  };
  out->Add(MetricType::Gauge, "flame_in_flight_bytes",
           "Bytes of requests being received, and of replies being sent.");
  each([](const Budget& budget) { return budget.in_use(); });
  out->Add(MetricType::Gauge, "flame_in_flight_limit_bytes",
           "The most of them there may be (limits.in_flight).");
  each([](const Budget& budget) { return budget.limit(); });
}

void AddStore(const Store::Stats& stats, Families* out) {
  out->Gauge("flame_storage_objects_estimate",
             "Live objects; exact up to some hundred, else from a sample.",
             stats.objects_estimate);
  out->Gauge("flame_storage_bytes_estimate", "Payload bytes of live objects, likewise.",
             stats.bytes_estimate);
  out->Counter("flame_storage_quarantined_files_total",
               "Unreadable files of other programs that were moved aside.",
               stats.quarantined);
  if (stats.disk) {
    out->Gauge("flame_storage_disk_free_bytes",
               "Free space on the storage's file system.", stats.disk->free_bytes);
    out->Gauge("flame_storage_disk_size_bytes", "Size of the storage's file system.",
               stats.disk->size_bytes);
  }
  if (!stats.database) return;
  const Store::Stats::Database& database = *stats.database;
  out->Gauge("flame_storage_rocksdb_memtable_bytes",
             "Rows and small objects that are in the log and not yet in tables.",
             database.memtable_bytes);
  out->Gauge("flame_storage_rocksdb_live_table_bytes",
             "Size of the table files that hold current data.",
             database.live_table_bytes);
  out->Gauge("flame_storage_rocksdb_pending_compaction_bytes",
             "Bytes that compaction has yet to rewrite; an estimate.",
             database.pending_compaction_bytes);
  out->Gauge("flame_storage_rocksdb_block_cache_bytes", "Blocks of tables in memory.",
             database.block_cache_bytes);
  out->Gauge("flame_storage_rocksdb_running_compactions", "Compactions at work.",
             database.running_compactions);
  out->Gauge("flame_storage_rocksdb_running_flushes", "Flushes of memtables at work.",
             database.running_flushes);
  out->Gauge("flame_storage_rocksdb_writes_stopped",
             "1 while writers wait for compaction.", int64_t{database.writes_stopped});
  out->Gauge("flame_storage_rocksdb_failed",
             "1 after a failed write, until one goes through again.",
             int64_t{database.failed});
}

void AddProcess(const std::string& version, Families* out) {
  const ProcessStats stats = ReadProcessStats();
  out->Counter("flame_process_cpu_seconds_total", "User and system time of the process.",
               stats.cpu_seconds);
  out->Gauge("flame_process_resident_memory_bytes", "Resident memory.",
             stats.resident_bytes);
  out->Gauge("flame_process_virtual_memory_bytes", "Virtual memory.",
             stats.virtual_bytes);
  out->Gauge("flame_process_open_fds", "Open file descriptors.", stats.open_fds);
  out->Gauge("flame_process_max_fds", "Limit of open file descriptors.", stats.max_fds);
  out->Gauge("flame_process_threads", "Threads.", stats.threads);
  out->Gauge("flame_process_start_time_seconds",
             "When the process started, since the Unix epoch.", stats.start_time_seconds);
  out->Add(MetricType::Gauge, "flame_build_info", "1, with the version as a label.");
  out->Metric({{"version", version}}).gauge.value = 1;
}

}  // namespace

MetricsPage::Watch::Watch(MetricsPage* page, Sources sources) : page_(page) {
  MutexLock lock(page_->mutex_);
  page_->sources_ = std::move(sources);
}

MetricsPage::Watch::~Watch() {
  MutexLock lock(page_->mutex_);
  page_->sources_.reset();
}

HttpPage MetricsPage::Page() const {
  Families families;
  {
    MutexLock lock(mutex_);
    if (sources_) {
      AddDoors(sources_->doors, &families);
      AddCache(sources_->cache->stats(), &families);
      AddInFlight(*sources_->uploads, *sources_->replies, &families);
      AddStore(sources_->store->stats(), &families);
    }
  }
  AddProcess(version_, &families);
  return {.content_type = "text/plain; version=0.0.4; charset=utf-8",
          .body = families.Text()};
}

}  // namespace flame
