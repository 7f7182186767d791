#include <thread>

#include <arrow/testing/gtest_util.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"
#include "flame/memory/buffer_pool.h"

namespace flame {
namespace {

using namespace std::chrono_literals;

TEST(BudgetTest, ALeaseGivesItsBytesBack) {
  Budget budget(100);
  {
    ASSERT_OK_AND_ASSIGN(const auto lease, budget.Acquire(60, 0ms));
    EXPECT_EQ(budget.in_use(), 60);
  }
  EXPECT_EQ(budget.in_use(), 0);
}

TEST(BudgetTest, WhatCanNeverFitIsRefusedAtOnce) {
  Budget budget(100);
  EXPECT_EQ(CodeOf(budget.Acquire(101, 1h).status()), ErrorCode::kTooLarge);
}

TEST(BudgetTest, ImpatientCallersGetATypedError) {
  Budget budget(100);
  ASSERT_OK_AND_ASSIGN(const auto lease, budget.Acquire(60, 0ms));
  EXPECT_EQ(CodeOf(budget.Acquire(60, 1ms).status()), ErrorCode::kExhausted);
}

TEST(BudgetTest, WaitersGoOnWhenBytesComeBack) {
  Budget budget(100);
  auto lease = std::make_unique<Budget::Lease>(*budget.Acquire(60, 0ms));
  std::thread waiter([&] { EXPECT_TRUE(budget.Acquire(60, 1h).ok()); });
  lease.reset();
  waiter.join();
}

TEST(BudgetTest, ACallerThatWentAwayStopsWaiting) {
  Budget budget(100);
  ASSERT_OK_AND_ASSIGN(const auto lease, budget.Acquire(60, 0ms));
  EXPECT_EQ(CodeOf(budget.Acquire(60, 1h, [] { return true; }).status()),
            ErrorCode::kCancelled);
}

}  // namespace
}  // namespace flame
