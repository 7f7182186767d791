// Hit ratios of the eviction policies: a seeded trace of reads drives Residency, the part
// of the cache that counts and chooses. A miss brings the object in, as reading from a
// storage does. All objects have the same size. One line of JSON per policy and trace.
//
//   eviction_bench REQUESTS KEYS
//
// Traces: Zipf of three skews; and the same with scans, where after every kScanPause
// requests as many keys in a row are read that nobody reads otherwise. Hits are counted
// for the Zipf requests only: those of a scan miss whatever the policy. The first fifth
// of the trace warms up.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "flame/cache/residency.h"
#include "flame/cache/table.h"

namespace {

using flame::EvictionOptions;
using flame::Residency;
using flame::Resident;
using flame::ResidentSet;

constexpr uint64_t kSeed = 7;
constexpr int64_t kScanPause = 10'000;
constexpr int64_t kObjectBytes = 1000;

/// Draws rank r with a probability in proportion to 1 / (r + 1)^alpha.
class Zipf {
 public:
  Zipf(int64_t keys, double alpha) : cumulated_(keys) {
    double sum = 0;
    for (int64_t rank = 0; rank < keys; ++rank)
      cumulated_[rank] = sum += std::pow(rank + 1.0, -alpha);
  }
  int64_t Draw(std::mt19937_64& random) const {
    const double at = std::uniform_real_distribution(0.0, cumulated_.back())(random);
    return std::lower_bound(cumulated_.begin(), cumulated_.end(), at) -
           cumulated_.begin();
  }

 private:
  std::vector<double> cumulated_;
};

/// The table of a cache, with nothing in it but what Residency needs.
class Simulation {
 public:
  explicit Simulation(const EvictionOptions& options) : residency_(options) {}

  /// True: it was resident.
  bool Read(int64_t id) {
    const std::string key = std::to_string(id);
    if (const auto found = residents_.find(key); found != residents_.end()) {
      residency_.Use(found->get());
      return true;
    }
    const auto object = Resident::Shared(key, nullptr, kObjectBytes);
    residents_.insert(object);
    residency_.Set(nullptr, object.get());
    while (residency_.IsOver()) {
      const auto victim = residency_.TakeVictim();
      if (!victim) break;
      const auto leaving = residents_.find(*victim);
      residency_.Set(leaving->get(), nullptr);
      residents_.erase(leaving);
    }
    return false;
  }

 private:
  Residency residency_;
  ResidentSet residents_;
};

double HitRatio(EvictionOptions::Policy policy, int64_t cached, const Zipf& zipf,
                bool scans, int64_t keys, int64_t requests) {
  EvictionOptions options;
  options.policy = policy;
  options.max_bytes = cached * kObjectBytes;
  Simulation cache(options);
  std::mt19937_64 random(kSeed);
  int64_t hits = 0;
  int64_t next_scanned = keys;  // Behind the keys that Zipf draws.
  for (int64_t i = 0; i < requests; ++i) {
    const bool hit = cache.Read(zipf.Draw(random));
    if (i >= requests / 5) hits += hit;
    if (scans && i % kScanPause == kScanPause - 1)
      for (int64_t j = 0; j < kScanPause; ++j) cache.Read(next_scanned++);
  }
  return static_cast<double>(hits) / static_cast<double>(requests - requests / 5);
}

void Run(int64_t requests, int64_t keys) {
  for (const double alpha : {0.8, 1.0, 1.2}) {
    const Zipf zipf(keys, alpha);
    for (const bool scans : {false, true}) {
      for (const int percent : {1, 10}) {
        for (const auto policy :
             {EvictionOptions::Policy::kLru, EvictionOptions::Policy::kS3Fifo}) {
          const double ratio =
              HitRatio(policy, std::max<int64_t>(keys * percent / 100, 1), zipf, scans,
                       keys, requests);
          std::printf(
              "{\"policy\": \"%s\", \"alpha\": %.1f, \"scans\": %s, \"percent\": %d, "
              "\"hit_ratio\": %.4f}\n",
              policy == EvictionOptions::Policy::kLru ? "lru" : "s3fifo", alpha,
              scans ? "true" : "false", percent, ratio);
          std::fflush(stdout);
        }
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t requests = argc == 3 ? std::atoll(argv[1]) : 0;
  const int64_t keys = argc == 3 ? std::atoll(argv[2]) : 0;
  if (requests < 1 || keys < 1) {
    std::fputs("usage: eviction_bench REQUESTS KEYS\n", stderr);
    return 2;
  }
  Run(requests, keys);
  return 0;
}
