#include "flame/cache/feed.h"

#include <thread>

#include <arrow/testing/gtest_util.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using namespace std::chrono_literals;

CommitEvent Put(const std::string& key, Version version) {
  return {CommitEvent::Type::kPut, *Key::Parse(key), 0, version, Kind::kOpaque};
}

TEST(FeedTest, ReadersGetWhatCameAfterTheirCursorOnce) {
  Feed feed(1, 100);
  feed.AfterPublish(Put("a/s/before", 1));
  std::string cursor = feed.Now();
  feed.AfterPublish(Put("a/s/x", 1));
  feed.AfterPublish(Put("a/s/y", 1));
  ASSERT_OK_AND_ASSIGN(const auto first, feed.Read(cursor, "", 1, 0ms));
  ASSERT_EQ(first.events.size(), 1u);
  EXPECT_EQ(first.events[0].key.text(), "a/s/x");
  ASSERT_OK_AND_ASSIGN(const auto second, feed.Read(first.cursor, "", 10, 0ms));
  ASSERT_EQ(second.events.size(), 1u);
  EXPECT_EQ(second.events[0].key.text(), "a/s/y");
  ASSERT_OK_AND_ASSIGN(const auto third, feed.Read(second.cursor, "", 10, 0ms));
  EXPECT_TRUE(third.events.empty());
  EXPECT_FALSE(third.gap);
}

TEST(FeedTest, OtherPrefixesArePassedOver) {
  Feed feed(1, 100);
  const std::string cursor = feed.Now();
  feed.AfterPublish(Put("a/s/x", 1));
  feed.AfterPublish(Put("b/s/x", 1));
  ASSERT_OK_AND_ASSIGN(const auto page, feed.Read(cursor, "b/", 10, 0ms));
  ASSERT_EQ(page.events.size(), 1u);
  EXPECT_EQ(page.events[0].key.text(), "b/s/x");
}

TEST(FeedTest, FallingBehindTheRingIsAnExplicitGap) {
  Feed feed(1, 3);
  const std::string cursor = feed.Now();
  for (int i = 1; i <= 4; ++i) feed.AfterPublish(Put("a/s/x", i));
  ASSERT_OK_AND_ASSIGN(const auto page, feed.Read(cursor, "", 10, 0ms));
  EXPECT_TRUE(page.gap);
  EXPECT_TRUE(page.events.empty());
  feed.AfterPublish(Put("a/s/x", 5));
  ASSERT_OK_AND_ASSIGN(const auto next, feed.Read(page.cursor, "", 10, 0ms));
  EXPECT_FALSE(next.gap);
  ASSERT_EQ(next.events.size(), 1u);
  EXPECT_EQ(next.events[0].version, 5);
}

TEST(FeedTest, WhatTheRingNeverHeldIsAGapToo) {
  Feed feed(1, 100);
  feed.AfterPublish(Put("a/s/x", 1));
  const std::string cursor = feed.Now();
  feed.Lose();
  ASSERT_OK_AND_ASSIGN(const auto page, feed.Read(cursor, "", 10, 0ms));
  EXPECT_TRUE(page.gap);
  ASSERT_OK_AND_ASSIGN(const auto next, feed.Read(page.cursor, "", 10, 0ms));
  EXPECT_FALSE(next.gap);
}

TEST(FeedTest, CursorsOfAnotherLifeAreAGapAndOtherBytesAnError) {
  const Feed before(1, 3);
  const Feed after(2, 3);
  ASSERT_OK_AND_ASSIGN(const auto page, after.Read(before.Now(), "", 10, 0ms));
  EXPECT_TRUE(page.gap);
  EXPECT_EQ(CodeOf(after.Read("7", "", 10, 0ms).status()), ErrorCode::kInvalid);
}

TEST(FeedTest, AWaitEndsWithTheNextEvent) {
  Feed feed(1, 100);
  const std::string cursor = feed.Now();
  std::thread reader([&] {
    const auto page = feed.Read(cursor, "", 10, 1h);
    EXPECT_TRUE(page.ok() && page->events.size() == 1);
  });
  feed.AfterPublish(Put("a/s/x", 1));
  reader.join();
}

TEST(FeedTest, AWaitEndsWhenTheServerStopsOrTheCallerLeaves) {
  Feed feed(1, 100);
  ASSERT_OK(feed.Read(feed.Now(), "", 10, 1h, [] { return true; }).status());
  feed.Close();
  ASSERT_OK(feed.Read(feed.Now(), "", 10, 1h).status());
}

}  // namespace
}  // namespace flame
