// Eviction: the limits hold exactly, just enough leaves, nobody loses what was just
// acknowledged, and a storage loses nothing.
#include <random>
#include <thread>

#include "flame/cache/cache_testing.h"

namespace flame {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TYPED_TEST_SUITE(CacheContractTest, Backends);

CacheOptions Limited(std::optional<int64_t> bytes, std::optional<int64_t> objects,
                     EvictionOptions::Policy policy = EvictionOptions::Policy::kLru) {
  CacheOptions options;
  options.eviction = {policy, bytes, objects};
  return options;
}

std::string Large(char filling, size_t size = 100'000) {
  return std::string(size, filling);
}

TYPED_TEST(CacheContractTest, OneMoreThanTheLimitEvictsExactlyOne) {
  this->Reopen(Limited({}, 3));
  for (const char* key : {"a/s/1", "a/s/2", "a/s/3"}) ASSERT_OK(this->Put(key, "x"));
  EXPECT_EQ(this->cache_->stats().evicted_objects_total, 0);
  EXPECT_EQ(this->Get("a/s/1"), "v1 x") << "and is used with that";
  ASSERT_OK(this->Put("a/s/4", "x"));
  EXPECT_EQ(this->cache_->stats().resident_objects, 3);
  EXPECT_EQ(this->cache_->stats().evicted_objects_total, 1);
  EXPECT_EQ(this->Get("a/s/4"), "v1 x") << "the one that was just acknowledged";
  EXPECT_EQ(this->Get("a/s/1"), "v1 x");
  EXPECT_EQ(this->Get("a/s/2"), TypeParam::kDurable ? "v1 x" : "absent");
}

TYPED_TEST(CacheContractTest, WithoutAStorageTheEvictedAreGoneFromListsAndCountOn) {
  this->Reopen(Limited({}, 2));
  for (const char* key : {"a/s/1", "a/s/2", "a/s/3"}) ASSERT_OK(this->Put(key, "x"));
  if (TypeParam::kDurable) {
    EXPECT_THAT(this->List(""), ElementsAre("a/s/1", "a/s/2", "a/s/3"));
  } else {
    EXPECT_THAT(this->List(""), ElementsAre("a/s/2", "a/s/3"));
  }
  EXPECT_EQ(*this->Put("a/s/1", "y"), 2) << "no version twice";
}

TYPED_TEST(CacheContractTest, BytesThatAreHeldDecideAndJustEnoughLeaves) {
  this->Reopen(Limited(1'000'000, {}));
  for (int i = 0; i < 9; ++i) {
    ASSERT_OK(this->Put("a/s/" + std::to_string(i), Large('x')));
  }
  EXPECT_EQ(this->cache_->stats().evicted_objects_total, 0);
  ASSERT_OK(this->Put("a/s/big", Large('x', 250'000)));
  EXPECT_EQ(this->cache_->stats().evicted_objects_total, 2);
  EXPECT_EQ(this->cache_->stats().evicted_bytes_total, 200'000);
  EXPECT_LE(this->cache_->stats().resident_bytes, 1'000'000);
  // Patches count.
  for (int i = 0; i < 3; ++i) ASSERT_OK(this->Patch("a/s/big", Large('y', 40'000)));
  EXPECT_LE(this->cache_->stats().resident_bytes, 1'000'000);
  EXPECT_EQ(this->cache_->stats().evicted_objects_total, 3);
}

// Native tables are charged for what their messages hold, not once per column.
TYPED_TEST(CacheContractTest, ATableIsChargedOnce) {
  const auto before = this->cache_->stats().resident_bytes;
  const auto table = Table(std::vector<int64_t>(10'000, 7));
  ASSERT_OK(this->cache_->Put({}, this->K("a/s/t"), table));
  const int64_t charged = this->cache_->stats().resident_bytes - before;
  EXPECT_GE(charged, 80'000);
  EXPECT_LE(charged, 83'000);
}

TYPED_TEST(CacheContractTest, DeletingAndReplacingReturnsWhatWasCharged) {
  this->Reopen(Limited(10'000'000, {}));
  for (int round = 0; round < 3; ++round) {
    ASSERT_OK(this->Put("a/s/o", Large('x', 50'000 * (round + 1))));
    ASSERT_OK(this->Patch("a/s/o", "p"));
  }
  ASSERT_OK(this->Delete("a/s/o"));
  EXPECT_EQ(this->cache_->stats().resident_bytes, 0);
  EXPECT_EQ(this->cache_->stats().resident_objects, 0);
}

TYPED_TEST(CacheContractTest, AnObjectThatNeverFits) {
  this->Reopen(Limited(100'000, {}));
  ASSERT_OK(this->Put("a/s/small", "x"));
  const auto put = this->Put("a/s/o", Large('x', 100'000));
  if (TypeParam::kDurable) {
    ASSERT_OK(put) << "lives on the disk";
    EXPECT_EQ(this->Get("a/s/o").size(), 100'003);
    EXPECT_EQ(this->Get("a/s/o", 1), "v1 unchanged");
    ASSERT_OK(this->Patch("a/s/o", "+"));
    EXPECT_EQ(this->Get("a/s/o").size(), 100'005);
  } else {
    EXPECT_TRUE(IsError(put.status(), ErrorCode::kTooLarge)) << put.status().ToString();
    EXPECT_EQ(DetailOf(put.status())->outcome, Outcome::kNotApplied);
    EXPECT_EQ(this->Get("a/s/o"), "absent");
    ASSERT_OK(this->Put("a/s/o", Large('x', 60'000)));
    EXPECT_TRUE(
        IsError(this->Patch("a/s/o", Large('x', 60'000)).status(), ErrorCode::kTooLarge));
  }
  EXPECT_EQ(this->Get("a/s/small"), "v1 x") << "nobody had to leave for it";
  EXPECT_LE(this->cache_->stats().resident_bytes, 100'000);
}

TYPED_TEST(CacheContractTest, WhatSomebodyReadsStaysUntilHeIsDone) {
  this->Reopen(Limited({}, 1));
  ASSERT_OK(this->Put("a/s/read", "x"));
  ASSERT_OK_AND_ASSIGN(GetResult reader, this->cache_->Get({}, this->K("a/s/read"), 0));
  ASSERT_OK(this->Put("a/s/other", "x"));
  EXPECT_EQ(this->cache_->stats().resident_objects, 2);
  EXPECT_EQ(this->Get("a/s/read"), "v1 x");
  reader = Absent{};
  ASSERT_OK(this->cache_->EvictToLimits());
  EXPECT_EQ(this->cache_->stats().resident_objects, 1);
}

TYPED_TEST(CacheContractTest, WithAStorageLoadingMakesRoomToo) {
  if (!TypeParam::kDurable) GTEST_SKIP() << "nothing to load";
  for (int i = 0; i < 10; ++i) ASSERT_OK(this->Put("a/s/" + std::to_string(i), "x"));
  this->Reopen(Limited({}, 4));
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(this->Get("a/s/" + std::to_string(i)), "v1 x");
    EXPECT_LE(this->cache_->stats().resident_objects, 4);
  }
  EXPECT_EQ(this->cache_->stats().evicted_objects_total, 6);
  EXPECT_THAT(this->List(""), SizeIs(10));
}

TYPED_TEST(CacheContractTest, WatchersSeeWhatIsLostAndOnlyThat) {
  this->Reopen(Limited({}, 1));
  ASSERT_OK(this->Put("a/s/1", "x"));
  ASSERT_OK_AND_ASSIGN(auto page,
                       this->cache_->ReadFeed({}, "", "", 10, milliseconds(0)));
  ASSERT_OK(this->Put("a/s/2", "x"));
  ASSERT_OK_AND_ASSIGN(page,
                       this->cache_->ReadFeed({}, page.cursor, "", 10, milliseconds(0)));
  ASSERT_EQ(page.events.size(), TypeParam::kDurable ? 1 : 2);
  if (!TypeParam::kDurable) {
    EXPECT_EQ(page.events[1].type, CommitEvent::Type::kEvict);
    EXPECT_EQ(page.events[1].key.text(), "a/s/1");
  }
}

// S3-FIFO chooses the large newcomer again and again; it stays, so others must go.
TYPED_TEST(CacheContractTest, ALargeObjectThatWasJustWrittenMakesOthersLeave) {
  for (const auto policy :
       {EvictionOptions::Policy::kLru, EvictionOptions::Policy::kS3Fifo}) {
    this->Reopen(Limited(1'000'000, 4, policy));
    for (int i = 0; i < 8; ++i) {
      ASSERT_OK(this->Put("a/s/" + std::to_string(i % 4), "x"));
      this->Get("a/s/" + std::to_string(i % 4));
    }
    ASSERT_OK(this->Put("a/s/large", Large('x')));
    EXPECT_EQ(this->cache_->stats().resident_objects, 4);
    EXPECT_TRUE(this->Get("a/s/large").starts_with("v"));
    ASSERT_OK(this->Delete("a/s"));
  }
}

TYPED_TEST(CacheContractTest, WhatHasExpiredLeavesMemoryBeforeTheReaperComes) {
  this->Reopen(Limited({}, 2));
  WriteOptions options;
  options.ttl_ms = 10;
  ASSERT_OK(this->Put("a/s/1", "x", options));
  ASSERT_OK(this->Put("a/s/2", "x", options));
  this->clock_.Advance(milliseconds(10));
  for (const char* key : {"a/s/3", "a/s/4", "a/s/5"}) {
    ASSERT_OK(this->Put(key, "x"));
    EXPECT_LE(this->cache_->stats().resident_objects, 2);
  }
  EXPECT_EQ(this->Get("a/s/4"), "v1 x");
  EXPECT_EQ(*this->Put("a/s/1", "y"), 2);
}

TYPED_TEST(CacheContractTest, PolicyNoneEvictsNothing) {
  this->Reopen(Limited(1, 1, EvictionOptions::Policy::kNone));
  for (int i = 0; i < 5; ++i) ASSERT_OK(this->Put("a/s/" + std::to_string(i), "x"));
  EXPECT_EQ(this->cache_->stats().resident_objects, 5);
}

// Goal: under any interleaving the limits hold whenever everybody has been answered, and
// what a storage holds is never lost.
TYPED_TEST(CacheContractTest, ManyWritersAndReadersKeepToTheLimits) {
  for (const auto policy :
       {EvictionOptions::Policy::kLru, EvictionOptions::Policy::kS3Fifo}) {
    this->Reopen(Limited(400'000, 50, policy));
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([this, t] {
        std::mt19937 random(static_cast<unsigned>(t));
        for (int i = 0; i < 400; ++i) {
          const std::string key = "a/s/" + std::to_string(random() % 100);
          switch (random() % 4) {
            case 0:
              EXPECT_OK(this->Put(key, std::string(random() % 30'000, 'x')).status());
              break;
            case 1:
              ARROW_UNUSED(this->Patch(key, "p"));
              break;
            case 2:
              ARROW_UNUSED(this->Delete(key));
              break;
            default:
              ARROW_UNUSED(this->Get(key));
          }
        }
      });
    }
    for (auto& thread : threads) thread.join();
    ASSERT_OK(this->cache_->EvictToLimits());
    const auto stats = this->cache_->stats();
    EXPECT_LE(stats.resident_objects, 50);
    EXPECT_LE(stats.resident_bytes, 400'000);
    if (!TypeParam::kDurable) {
      EXPECT_EQ(std::ssize(this->List("")), stats.resident_objects);
    }
    ASSERT_OK(this->Delete("a/*"));
    EXPECT_EQ(this->cache_->stats().resident_bytes, 0);
    EXPECT_EQ(this->cache_->stats().resident_objects, 0);
  }
}

}  // namespace
}  // namespace flame
