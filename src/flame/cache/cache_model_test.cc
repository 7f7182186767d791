// Goal: Cache gives no answer that a dictionary with versions would not give (P1, P3, P4;
// one client, so no races). Method: random operations on every store, with objects that
// expire and are evicted, and restarts in between; a KeyOracle per key judges each
// answer. FLAME_SEED repeats a failure.
#include <gtest/gtest.h>

#include <arrow/testing/gtest_util.h>

#include "flame/cache/workload_testing.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/memory_store.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

struct MemoryBackend {
  static constexpr bool kDurable = false;
  static arrow::Result<std::unique_ptr<Store>> Open(const std::string& root) {
    MemoryStoreOptions options;
    options.runtime_file = root + "/versions";
    return MemoryStore::Open(options);
  }
};

template <int64_t pack_below>
struct FsBackend {
  static constexpr bool kDurable = true;
  static arrow::Result<std::unique_ptr<Store>> Open(const std::string& root) {
    FsStoreOptions options;
    options.root = root;
    options.pack_below = pack_below;
    return FsStore::Open(options);
  }
};

template <typename Backend>
class CacheModelTest : public ::testing::Test {
 protected:
  void Open() {
    ASSERT_OK_AND_ASSIGN(store_, Backend::Open(dir_->path()));
    cache_ = std::make_unique<Cache>(store_.get(), pool_.get(), &clock_, &allow_all_,
                                     options_);
  }
  void Reopen(Workload* workload) {
    ASSERT_OK(cache_->Close());
    cache_.reset();
    store_.reset();
    if (Backend::kDurable) {
      workload->Reopened();
    } else {
      workload->EverythingIsLost();
    }
    Open();
  }
  void Run(uint32_t seed, int steps, Workload::Options options) {
    SCOPED_TRACE("FLAME_SEED=" + std::to_string(seed));
    dir_.emplace();
    Open();
    options.persistent = Backend::kDurable;
    Workload workload(seed, std::move(options), &clock_);
    std::mt19937 random(seed);
    for (int step = 0; step < steps; ++step) {
      ASSERT_EQ(workload.Step(cache_.get()), "") << "step " << step;
      if (random() % 100 == 0) Reopen(&workload);
    }
    Reopen(&workload);
    ASSERT_EQ(workload.CheckAll(cache_.get()), "") << "at the end";
    cache_.reset();
    store_.reset();
  }
  /// Many short lives find more than a long one.
  void RunMany(const Workload::Options& options) {
    const uint32_t seed = TestSeed();
    const int runs = Nightly() ? 400 : 8;
    for (int i = 0; i < runs && !this->HasFatalFailure(); ++i) {
      Run(seed + static_cast<uint32_t>(i), 300, options);
    }
  }

  std::optional<TempDirectory> dir_;
  ManualClock clock_;
  AllowAll allow_all_;
  CacheOptions options_;
  std::unique_ptr<BufferPool> pool_ = MakeHeapPool();
  std::unique_ptr<Store> store_;
  std::unique_ptr<Cache> cache_;
};
using Backends = ::testing::Types<MemoryBackend, FsBackend<65536>, FsBackend<0>>;
TYPED_TEST_SUITE(CacheModelTest, Backends);

TYPED_TEST(CacheModelTest, EveryAnswerIsThatOfADictionary) { this->RunMany({}); }

TYPED_TEST(CacheModelTest, ObjectsThatExpireAreThereUntilThenAndNotAfterwards) {
  this->RunMany({.max_ttl_ms = 4000});
}

TYPED_TEST(CacheModelTest, WhatLeavesMemoryIsReadBackOrIsGoneAndTheLimitsHold) {
  for (const auto policy :
       {EvictionOptions::Policy::kLru, EvictionOptions::Policy::kS3Fifo}) {
    this->options_.eviction = {policy, 150'000, 4};
    this->RunMany({.max_ttl_ms = 4000, .max_bytes = 150'000, .max_objects = 4});
  }
}

TYPED_TEST(CacheModelTest, VersionsOnlyRiseWhenTombstonesAreFolded) {
  this->options_.max_tombstones = 2;
  this->RunMany({.max_ttl_ms = 2000, .folding = true});
}

}  // namespace
}  // namespace flame
