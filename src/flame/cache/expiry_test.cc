// Expiry: what has expired is absent at once, deleted soon, and stays gone.
#include "flame/cache/cache_testing.h"
#include "flame/cache/expiry_clock.h"

namespace flame {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TYPED_TEST_SUITE(CacheContractTest, Backends);

WriteOptions Ttl(int64_t ms) { return {.if_version = std::nullopt, .ttl_ms = ms}; }

TYPED_TEST(CacheContractTest, AnExpiredObjectIsAbsentToReadersAndWriters) {
  ASSERT_OK(this->Put("a/s/o", "1", Ttl(1000)));
  ASSERT_OK(this->Put("a/s/stays", "1"));
  this->clock_.Advance(milliseconds(999));
  EXPECT_EQ(this->Get("a/s/o"), "v1 1");
  this->clock_.Advance(milliseconds(1));
  EXPECT_EQ(this->Get("a/s/o"), "absent");
  EXPECT_EQ(this->Get("a/s/o", 1), "absent");
  EXPECT_THAT(this->List(""), ElementsAre("a/s/stays"));
  EXPECT_TRUE(IsError(this->Patch("a/s/o", "2").status(), ErrorCode::kNotFound));
  EXPECT_EQ(*this->Put("a/s/o", "2", {.if_version = 0}), 2) << "absent, and counting on";
  EXPECT_EQ(this->Get("a/s/o"), "v2 2");
}

TYPED_TEST(CacheContractTest, ReapingDeletesWhatHasExpiredAndNothingElse) {
  for (int i = 0; i < 1200; ++i) {
    ASSERT_OK(this->Put("a/s/" + std::to_string(i), "x", Ttl(i < 1100 ? 10 : 20)));
  }
  ASSERT_OK(this->Put("a/s/for-ever", "x"));
  EXPECT_EQ(*this->cache_->ReapExpired(), 0);
  this->clock_.Advance(milliseconds(10));
  EXPECT_EQ(*this->cache_->ReapExpired(), 1100);
  EXPECT_EQ(*this->cache_->ReapExpired(), 0);
  EXPECT_EQ(this->cache_->stats().resident_objects, 101);
  EXPECT_EQ(this->cache_->stats().expired_objects_total, 1100);
  EXPECT_EQ(this->List("").size(), 101);
  ASSERT_OK_AND_ASSIGN(const auto row, this->store_->Find(this->K("a/s/7")));
  EXPECT_TRUE(row->deleted) << "an ordinary tombstone, with its version";
  EXPECT_EQ(row->version, 1);
}

TYPED_TEST(CacheContractTest, APutWithoutTtlKeepsAnObjectForEverAPatchKeepsItsTime) {
  ASSERT_OK(this->Put("a/s/o", "1", Ttl(1000)));
  ASSERT_OK(this->Patch("a/s/o", "2"));
  ASSERT_OK(this->Put("a/s/again", "1", Ttl(1000)));
  ASSERT_OK(this->Put("a/s/again", "2"));
  ASSERT_OK(this->Put("a/s/longer", "1", Ttl(1000)));
  ASSERT_OK(this->cache_->Patch({}, this->K("a/s/longer"), Bytes("2"), Ttl(5000)));
  this->clock_.Advance(milliseconds(1000));
  EXPECT_EQ(*this->cache_->ReapExpired(), 1);
  EXPECT_EQ(this->Get("a/s/o"), "absent");
  EXPECT_EQ(this->Get("a/s/again"), "v2 2");
  EXPECT_EQ(this->Get("a/s/longer"), "v2 1+2");
}

TYPED_TEST(CacheContractTest, WhatHasExpiredStaysGoneWhenTheWallClockIsSetBack) {
  const int64_t start = this->clock_.WallMs();
  ASSERT_OK(this->Put("a/s/o", "1", Ttl(1000)));
  ASSERT_OK(this->Put("a/s/later", "1", Ttl(60'000)));
  this->clock_.Advance(milliseconds(1000));
  EXPECT_EQ(this->Get("a/s/o"), "absent");
  this->clock_.SetWall(start - 3'600'000);
  EXPECT_EQ(this->Get("a/s/o"), "absent");
  EXPECT_EQ(this->Get("a/s/later"), "v1 1");
  this->clock_.Advance(milliseconds(59'000));
  EXPECT_EQ(this->Get("a/s/later"), "absent") << "its time went on";
}

TYPED_TEST(CacheContractTest, TheTimeOfExpiryOutlivesTheServer) {
  if (!TypeParam::kDurable) GTEST_SKIP() << "nothing outlives it here";
  const int64_t start = this->clock_.WallMs();
  ASSERT_OK(this->Put("a/s/first", "1", Ttl(1000)));
  ASSERT_OK(this->Put("a/s/second", "1", Ttl(1000)));
  ASSERT_OK(this->Put("a/s/later", "1", Ttl(60'000)));
  this->clock_.Advance(milliseconds(1000));
  EXPECT_EQ(*this->cache_->ReapExpired(), 2);
  this->clock_.SetWall(start);
  this->Reopen();
  ASSERT_OK(this->Put("a/s/new", "1", Ttl(500)));
  this->clock_.Advance(milliseconds(499));
  EXPECT_EQ(this->Get("a/s/new"), "v1 1");
  this->clock_.Advance(milliseconds(1));
  EXPECT_EQ(this->Get("a/s/new"), "absent");
  EXPECT_EQ(this->Get("a/s/later"), "v1 1");
}

TYPED_TEST(CacheContractTest, WatchersSeeWhatExpires) {
  ASSERT_OK(this->Put("a/s/o", "1", Ttl(10)));
  ASSERT_OK_AND_ASSIGN(auto page,
                       this->cache_->ReadFeed({}, "", "", 10, milliseconds(0)));
  this->clock_.Advance(milliseconds(10));
  ASSERT_OK(this->cache_->ReapExpired());
  ASSERT_OK_AND_ASSIGN(page,
                       this->cache_->ReadFeed({}, page.cursor, "", 10, milliseconds(0)));
  ASSERT_EQ(page.events.size(), 1);
  EXPECT_EQ(page.events[0].type, CommitEvent::Type::kExpire);
  EXPECT_EQ(page.events[0].version, 1);
}

TEST(ExpiryClockTest, NeverGoesBackAndNeverStandsStill) {
  ManualClock clock(5000);
  const ExpiryClock expiry(&clock, 0);
  EXPECT_EQ(expiry.NowMs(), 5000);
  clock.SetWall(9000);
  EXPECT_EQ(expiry.NowMs(), 9000);
  clock.SetWall(1000);
  EXPECT_EQ(expiry.NowMs(), 9000);
  clock.Advance(milliseconds(7));
  EXPECT_EQ(expiry.NowMs(), 9007);
  clock.SetWall(20'000);
  EXPECT_EQ(expiry.NowMs(), 20'000);
  EXPECT_EQ(ExpiryClock(&clock, 30'000).NowMs(), 30'000);
}

}  // namespace
}  // namespace flame
