#include "flame/session/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flame {
namespace {

using State = InstanceUse::State;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Resources kOne{1, 1, 0};

/// A machine of two CPUs, given away up to four times over.
NodeLimits Machine(uint64_t cpus = 2, uint64_t overcommitted = 8) {
  return {{cpus, 1000, 0}, {overcommitted, 1000, 0}, 1000};
}

SessionDemand Waiting(uint64_t tasks, uint64_t serial = 1, uint32_t priority = 0) {
  SessionDemand demand;
  demand.per_instance = kOne;
  demand.waiting = tasks;
  demand.max = 1000;
  demand.serial = serial;
  demand.priority = priority;
  return demand;
}

InstanceUse Instance(size_t session, State state, int64_t idle_since_ms = 0) {
  return {session, kOne, state, idle_since_ms};
}

TEST(SchedulerTest, NothingToDoStartsNothing) {
  EXPECT_THAT(MakePlan({Waiting(0)}, {}, Machine()).starts, IsEmpty());
  EXPECT_FALSE(MakePlan({Waiting(0)}, {}, Machine()).starved);
}

TEST(SchedulerTest, AllThatFitAreStartedAtOnce) {
  const Plan plan = MakePlan({Waiting(10)}, {}, Machine(4));
  EXPECT_THAT(plan.starts, ElementsAre(0, 0, 0, 0));
  EXPECT_TRUE(plan.starved);
}

TEST(SchedulerTest, NoMoreInstancesThanTasks) {
  EXPECT_THAT(MakePlan({Waiting(1)}, {}, Machine()).starts, ElementsAre(0));
  SessionDemand demand = Waiting(1);
  demand.running = 1;
  EXPECT_THAT(
      MakePlan({demand}, {Instance(0, State::kWorking), Instance(0, State::kStarting)},
               Machine())
          .starts,
      IsEmpty());
}

TEST(SchedulerTest, MinimumNeedsNoTasks) {
  SessionDemand demand = Waiting(0);
  demand.min = 2;
  EXPECT_THAT(MakePlan({demand}, {}, Machine()).starts, ElementsAre(0, 0));
}

TEST(SchedulerTest, MaximumWinsOverMinimum) {
  SessionDemand demand = Waiting(5);
  demand.min = 3;
  demand.max = 1;
  EXPECT_THAT(MakePlan({demand}, {}, Machine()).starts, ElementsAre(0));
}

TEST(SchedulerTest, HigherPriorityThenOlderSession) {
  const Plan plan =
      MakePlan({Waiting(1, 1), Waiting(1, 2), Waiting(1, 3, 9)}, {}, Machine(2, 2));
  EXPECT_THAT(plan.starts, ElementsAre(2, 0));
}

TEST(SchedulerTest, FirstInstancesBeforeFurtherOnes) {
  const Plan plan = MakePlan({Waiting(9, 1), Waiting(9, 2)}, {}, Machine(3, 3));
  EXPECT_THAT(plan.starts, ElementsAre(0, 1, 0));
}

TEST(SchedulerTest, LowerPrioritiesWaitWhileAHigherOneLacksRoom) {
  SessionDemand large = Waiting(1, 2, 5);
  large.running = 1;
  large.per_instance = {2, 1, 0};
  const Plan plan =
      MakePlan({Waiting(1, 1), large}, {Instance(1, State::kWorking)}, Machine(2, 2));
  EXPECT_THAT(plan.starts, IsEmpty());
  EXPECT_TRUE(plan.starved);
}

TEST(SchedulerTest, WhatNeverFitsHoldsNobodyBack) {
  SessionDemand huge = Waiting(1, 1, 5);
  huge.per_instance = {64, 1, 0};
  EXPECT_THAT(MakePlan({huge, Waiting(1, 2)}, {}, Machine()).starts, ElementsAre(1));
}

TEST(SchedulerTest, LongWorkDoesNotFloodTheMachine) {
  SessionDemand demand = Waiting(100);
  demand.running = 2;
  const std::vector<InstanceUse> working(2, Instance(0, State::kWorking));
  const Plan plan = MakePlan({demand}, working, Machine());
  EXPECT_THAT(plan.starts, IsEmpty());
  EXPECT_TRUE(plan.starved);
}

TEST(SchedulerTest, StalledSessionGetsOneBeyondTheMachine) {
  SessionDemand demand = Waiting(100);
  demand.running = 2;
  demand.stalled = true;
  std::vector<InstanceUse> instances(2, Instance(0, State::kWorking));
  EXPECT_THAT(MakePlan({demand}, instances, Machine()).starts, ElementsAre(0));
  instances.push_back(Instance(0, State::kStarting));
  EXPECT_THAT(MakePlan({demand}, instances, Machine()).starts, IsEmpty());
}

TEST(SchedulerTest, FirstInstanceComesAtOnceThoughTheMachineIsFull) {
  const std::vector<InstanceUse> working(2, Instance(0, State::kWorking));
  EXPECT_THAT(MakePlan({Waiting(0, 1), Waiting(1, 2)}, working, Machine()).starts,
              ElementsAre(1));
}

TEST(SchedulerTest, OverCommitHasALimit) {
  SessionDemand demand = Waiting(1);
  demand.stalled = true;
  const std::vector<InstanceUse> working(8, Instance(0, State::kWorking));
  EXPECT_THAT(MakePlan({demand}, working, Machine()).starts, IsEmpty());
}

TEST(SchedulerTest, LongestIdleInstanceMakesRoom) {
  const std::vector<InstanceUse> instances{Instance(0, State::kIdle, 20),
                                           Instance(0, State::kIdle, 10)};
  const Plan plan = MakePlan({Waiting(0, 1), Waiting(1, 2)}, instances, Machine(2, 2));
  EXPECT_THAT(plan.starts, IsEmpty());
  EXPECT_THAT(plan.reclaims, ElementsAre(1));
}

TEST(SchedulerTest, RoomThatIsComingIsNotAskedForTwice) {
  const std::vector<InstanceUse> instances{Instance(0, State::kIdle, 20),
                                           Instance(0, State::kLeaving)};
  EXPECT_THAT(MakePlan({Waiting(0, 1), Waiting(1, 2)}, instances, Machine(2, 2)).reclaims,
              IsEmpty());
}

TEST(SchedulerTest, TwoThatWaitGetTwoPlaces) {
  const std::vector<InstanceUse> instances{Instance(0, State::kIdle, 20),
                                           Instance(0, State::kIdle, 10)};
  EXPECT_THAT(
      MakePlan({Waiting(0, 1), Waiting(1, 2), Waiting(1, 3)}, instances, Machine(2, 2))
          .reclaims,
      ElementsAre(1, 0));
}

TEST(SchedulerTest, MinimumOfOthersIsNotReclaimed) {
  SessionDemand held = Waiting(0, 1);
  held.min = 1;
  const std::vector<InstanceUse> instances{Instance(0, State::kIdle, 20)};
  EXPECT_THAT(MakePlan({held, Waiting(1, 2)}, instances, Machine(1, 1)).reclaims,
              IsEmpty());
}

TEST(SchedulerTest, NumberOfInstancesIsALimitToo) {
  NodeLimits limits = Machine();
  limits.instances = 1;
  const std::vector<InstanceUse> instances{Instance(0, State::kIdle)};
  const Plan plan = MakePlan({Waiting(0, 1), Waiting(1, 2)}, instances, limits);
  EXPECT_THAT(plan.starts, IsEmpty());
  EXPECT_THAT(plan.reclaims, ElementsAre(0));
}

}  // namespace
}  // namespace flame
