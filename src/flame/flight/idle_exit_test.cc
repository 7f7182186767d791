#include "flame/flight/idle_exit.h"

#include <atomic>

#include <gtest/gtest.h>

#include "flame/base/clock.h"

namespace flame {
namespace {

using std::chrono::milliseconds;

class IdleGateTest : public ::testing::Test {
 protected:
  ManualClock clock_;
  IdleGate gate_{&clock_, milliseconds(100)};
};

TEST_F(IdleGateTest, ClosesWhenNobodyHasBeenInsideForTheLimit) {
  clock_.Advance(milliseconds(99));
  EXPECT_EQ(gate_.TryClose(), milliseconds(1));
  clock_.Advance(milliseconds(1));
  EXPECT_EQ(gate_.TryClose(), milliseconds(0));
  EXPECT_FALSE(gate_.Enter());
}

TEST_F(IdleGateTest, StaysOpenWhileSomebodyIsInsideHoweverLong) {
  ASSERT_TRUE(gate_.Enter());
  clock_.Advance(milliseconds(1000));
  EXPECT_GT(gate_.TryClose(), milliseconds(0));
  EXPECT_TRUE(gate_.Enter());
}

TEST_F(IdleGateTest, CountsFromWhenTheLastOneLeft) {
  ASSERT_TRUE(gate_.Enter());
  ASSERT_TRUE(gate_.Enter());
  clock_.Advance(milliseconds(90));
  gate_.Leave();
  clock_.Advance(milliseconds(90));
  gate_.Leave();
  clock_.Advance(milliseconds(40));
  EXPECT_EQ(gate_.TryClose(), milliseconds(60));
}

TEST_F(IdleGateTest, ClosedIsClosedAlsoWhenTheClockStandsStill) {
  clock_.Advance(milliseconds(100));
  ASSERT_EQ(gate_.TryClose(), milliseconds(0));
  EXPECT_EQ(gate_.TryClose(), milliseconds(0));
}

// Goal: no call is inside when the gate has closed, however the two meet.
TEST(IdleGateRaceTest, NobodyIsInsideAClosedGate) {
  for (int round = 0; round < 2000; ++round) {
    ManualClock clock;
    IdleGate gate(&clock, milliseconds(1));
    clock.Advance(milliseconds(1));
    std::atomic<bool> go = false;
    bool entered = false;
    std::thread caller([&] {
      while (!go) {
      }
      entered = gate.Enter();
    });
    go = true;
    const bool closed = gate.TryClose().count() == 0;
    caller.join();
    EXPECT_NE(entered, closed);
  }
}

}  // namespace
}  // namespace flame
