#include "flame/http/readiness.h"

#include <gtest/gtest.h>

namespace flame {
namespace {

TEST(ReadinessTest, OnlyAServingServerIsReady) {
  Readiness readiness;
  EXPECT_EQ(readiness.Page().status, 503);
  EXPECT_EQ(readiness.Page().body, "starting\n");
  readiness.Set(Readiness::State::kServing);
  EXPECT_EQ(readiness.Page().status, 200);
  readiness.Set(Readiness::State::kStopping);
  EXPECT_EQ(readiness.Page().status, 503);
  EXPECT_EQ(readiness.Page().body, "stopping\n");
}

TEST(ReadinessTest, TheCheckDecidesWhileServing) {
  Readiness readiness;
  readiness.Set(Readiness::State::kServing);
  std::optional<std::string> problem = "the disk is full";
  readiness.SetCheck([&] { return problem; });
  EXPECT_EQ(readiness.Page().status, 503);
  EXPECT_EQ(readiness.Page().body, "the disk is full\n");
  problem.reset();
  EXPECT_EQ(readiness.Page().status, 200);
  problem = "again";
  readiness.SetCheck({});
  EXPECT_EQ(readiness.Page().status, 200);
}

}  // namespace
}  // namespace flame
