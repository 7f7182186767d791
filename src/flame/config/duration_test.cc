#include "flame/config/duration.h"

#include <gtest/gtest.h>

namespace flame {
namespace {

using std::chrono::milliseconds;

TEST(DurationTest, EveryUnitIsReadAndWrittenBackExactly) {
  EXPECT_EQ(ParseDuration("500ms").ValueOrDie(), milliseconds(500));
  EXPECT_EQ(ParseDuration("10s").ValueOrDie(), milliseconds(10'000));
  EXPECT_EQ(ParseDuration("10").ValueOrDie(), milliseconds(10'000));
  EXPECT_EQ(ParseDuration("5m").ValueOrDie(), milliseconds(300'000));
  EXPECT_EQ(ParseDuration("7d").ValueOrDie(), milliseconds(604'800'000));
  EXPECT_EQ(ParseDuration("0").ValueOrDie(), milliseconds(0));
  for (const char* text : {"500ms", "1500ms", "10s", "90s", "5m", "24h", "168h", "0s"}) {
    EXPECT_EQ(FormatDuration(ParseDuration(text).ValueOrDie()), text);
  }
}

TEST(DurationTest, AnythingElseIsAnError) {
  for (const char* text : {"", "s", "-1s", "1.5s", "1 s", "1w", "9223372036854775807h",
                           "99999999999999999999s"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

}  // namespace
}  // namespace flame
