// When an object may be brought into memory for a reply.
#include "flame/flight/reply_leases.h"

#include <thread>

#include <arrow/testing/gtest_util.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"

namespace flame {
namespace {

constexpr int64_t kObject = 1 << 20;

std::shared_ptr<const Snapshot> SnapshotOf(uint64_t id) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->id = id;
  snapshot->bytes = kObject;
  return snapshot;
}

/// An object on disk, until somebody gets it.
struct Stored {
  std::shared_ptr<const Snapshot> snapshot;
  std::atomic<bool> resident{false};
  std::atomic<int> asked{0};
  std::atomic<bool> cancelled{false};

  ReplyLeases::Reader Reader() {
    return {.to_load = [this]() -> arrow::Result<int64_t> {
              ++asked;
              return resident ? 0 : kObject;
            },
            .get = [this]() -> arrow::Result<GetResult> {
              resident = true;
              return snapshot;
            },
            .size = [](const Snapshot& found) { return found.bytes; },
            .cancelled = [this] { return cancelled.load(); }};
  }
};

TEST(ReplyLeasesTest, WhatThereIsNoRoomForIsNotLoaded) {
  ReplyLeases leases(kObject);
  Stored first{SnapshotOf(1)}, second{SnapshotOf(2)};
  ASSERT_OK_AND_ASSIGN(auto held, leases.Read(first.Reader()));
  second.cancelled = true;  // As a client that has gone: nobody waits for it.
  EXPECT_FALSE(leases.Read(second.Reader()).ok());
  EXPECT_FALSE(second.resident);
  EXPECT_EQ(leases.budget().in_use(), kObject);
  held.lease.reset();
  second.cancelled = false;
  EXPECT_OK(leases.Read(second.Reader()).status());
  EXPECT_TRUE(second.resident);
  EXPECT_EQ(leases.budget().in_use(), 0);
}

TEST(ReplyLeasesTest, AReaderDoesNotWaitForRoomOnceAnotherHasLoadedTheObject) {
  ReplyLeases leases(kObject);
  Stored blocker{SnapshotOf(1)}, stored{SnapshotOf(2)};
  ASSERT_OK_AND_ASSIGN(auto blocking, leases.Read(blocker.Reader()));
  arrow::Result<ReplyLeases::Held> late = arrow::Status::Cancelled("not read");
  std::thread reader([&] { late = leases.Read(stored.Reader()); });
  while (stored.asked == 0) std::this_thread::yield();
  // Another call loads it and holds the lease that there is room for.
  blocking.lease.reset();
  auto early = leases.Read(stored.Reader());
  reader.join();
  ASSERT_OK(early.status());
  ASSERT_OK(late.status());
  EXPECT_EQ(early->lease, late->lease);
  EXPECT_EQ(leases.budget().in_use(), kObject);
}

TEST(ReplyLeasesTest, OneThatIsLargerThanAllThereIsGoesAlone) {
  ReplyLeases leases(kObject / 2);
  Stored stored{SnapshotOf(1)};
  ASSERT_OK_AND_ASSIGN(const auto held, leases.Read(stored.Reader()));
  EXPECT_EQ(leases.budget().in_use(), kObject / 2);
}

}  // namespace
}  // namespace flame
