#include "flame/config/nearest_name.h"

#include <gtest/gtest.h>

namespace flame {
namespace {

TEST(NearestNameTest, DistanceCountsEdits) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("abc", ""), 3);
  EXPECT_EQ(EditDistance("storage", "storage"), 0);
  EXPECT_EQ(EditDistance("storge", "storage"), 1);
  EXPECT_EQ(EditDistance("stroage", "storage"), 1);
  EXPECT_EQ(EditDistance("storaqe", "storage"), 1);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
}

TEST(NearestNameTest, NearestIsFoundAndTheFirstOfEquals) {
  EXPECT_EQ(NearestName("endpiont", {"bind", "endpoint", "storage"}), "endpoint");
  EXPECT_EQ(NearestName("x", {"a", "b"}), "a");
}

}  // namespace
}  // namespace flame
