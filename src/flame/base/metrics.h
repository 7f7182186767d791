// Instruments: what the code counts into where things happen. Plain atomics, so that
// nothing here knows of HTTP or of an exposition format; http/ reads and shows them.
//
// Thread-safe. Adding is one relaxed atomic addition each; docs/operating/metrics.md has
// the measured cost.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "flame/base/error.h"

namespace flame {

/// Rises only.
class Counter {
 public:
  void Add(int64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

/// How many durations fell below each of a fixed row of bounds.
class LatencyHistogram {
 public:
  /// Upper bounds in seconds: from a hit in memory to a large transfer or a long wait.
  static constexpr std::array kBounds{
      25e-6, 50e-6,  100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3,
      50e-3, 100e-3, 250e-3, 0.5,    1.0,    2.5,  5.0,    10.0, 30.0,  60.0};

  void Observe(std::chrono::nanoseconds duration) {
    const double seconds = std::chrono::duration<double>(duration).count();
    size_t bucket = 0;
    while (bucket < kBounds.size() && seconds > kBounds[bucket]) ++bucket;
    buckets_[bucket].Add();
    sum_ns_.Add(duration.count());
  }
  /// Of one bucket alone; the last one holds what is over every bound.
  int64_t count(size_t bucket) const { return buckets_[bucket].value(); }
  double sum_seconds() const { return static_cast<double>(sum_ns_.value()) * 1e-9; }

 private:
  std::array<Counter, kBounds.size() + 1> buckets_;
  Counter sum_ns_;
};

/// What clients can ask of a door.
enum class DoorOperation {
  kPut,
  kPatch,
  kGet,
  kStat,
  kList,
  kDelete,
  kFeed,
  kInfo,      // About the server, and of calls that only describe.
  kBatchPut,  // Many small writes in one call.
  kBatchGet,  // Many small reads in one call.
  kUnknown,   // What could not be told: an action that there is not.
};
inline constexpr std::array<std::string_view, 11> kDoorOperationNames{
    "put",  "patch", "get",       "stat",      "list",   "delete",
    "feed", "info",  "batch_put", "batch_get", "unknown"};

/// What one door counts.
class DoorMetrics {
 public:
  struct Operation {
    LatencyHistogram latency;  // Its count is the number of calls that have ended.
    Counter received_bytes;
    Counter sent_bytes;
    std::array<Counter, kErrorCodes> errors;  // By ErrorCode.
  };

  /// `door`: its name in labels, such as "flight".
  explicit DoorMetrics(std::string door) : door_(std::move(door)) {}

  const std::string& door() const { return door_; }
  Operation& of(DoorOperation operation) {
    return operations_[static_cast<size_t>(operation)];
  }
  const Operation& of(DoorOperation operation) const {
    return operations_[static_cast<size_t>(operation)];
  }

  Counter incremental;                    // Gets answered with the newest patches only.
  std::atomic<int64_t> running{0};        // Calls that have not ended.
  std::atomic<int64_t> running_limit{0};  // The most there may be.

 private:
  const std::string door_;
  std::array<Operation, kDoorOperationNames.size()> operations_;
};

}  // namespace flame
