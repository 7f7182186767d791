#include "flame/base/size.h"

#include <limits>

#include <gtest/gtest.h>

#include "flame/base/error.h"

namespace flame {
namespace {

constexpr uint64_t kKi = 1024;
constexpr uint64_t kMi = 1024 * kKi;
constexpr uint64_t kGi = 1024 * kMi;

TEST(SizeTest, EveryFormOfTheGrammarIsRead) {
  const std::pair<std::string, uint64_t> cases[] = {
      {"0", 0},
      {"65536", 65536},
      {"+7", 7},
      {"  12  ", 12},
      {"18446744073709551615", std::numeric_limits<uint64_t>::max()},
      {"1B", 1},
      {"1b", 1},
      {"1K", kKi},
      {"1kb", kKi},
      {"1Ki", kKi},
      {"1KiB", kKi},
      {"1M", kMi},
      {"1MB", kMi},
      {"1mI", kMi},
      {"1MiB", kMi},
      {"2G", 2 * kGi},
      {"2gb", 2 * kGi},
      {"2Gi", 2 * kGi},
      {"2gib", 2 * kGi},
      {"1T", 1024 * kGi},
      {"1TiB", 1024 * kGi},
      {"1P", 1024 * 1024 * kGi},
      {"1pib", 1024 * 1024 * kGi},
      {"1 G", kGi},
      {"\t1 \t GiB \n", kGi},
      {"1.5K", 1536},
      {".5K", 512},
      {"5.K", 5 * kKi},
      {"0.0001K", 0},
      {"1.9B", 1},
      {"0G", 0},
  };
  for (const auto& [text, bytes] : cases) {
    const auto size = ParseSize(text);
    ASSERT_TRUE(size.ok()) << text << ": " << size.status();
    EXPECT_EQ(*size, bytes) << text;
  }
}

TEST(SizeTest, AnythingElseIsAnError) {
  for (const char* text :
       {"",     " ",     "M",   "GiB", "-1",    "-1G", "1.2.3", "1.2.3G", "1e3",
        "1e3G", "1_000", "1.5", "5.",  ".",     ".K",  "+",     "+5K",    "1X",
        "1E",   "1EB",   "1BB", "1BI", "1KIBS", "1 0", "1G1",   "0x10",   "lots"}) {
    const auto size = ParseSize(text);
    ASSERT_FALSE(size.ok()) << text;
    EXPECT_TRUE(IsError(size.status(), ErrorCode::kInvalid)) << text;
    EXPECT_NE(size.status().message().find("is not a size"), std::string::npos)
        << size.status();
  }
}

TEST(SizeTest, MoreThanSixtyFourBitsIsAnErrorAndDoesNotWrapAround) {
  for (const char* text :
       {"18446744073709551616", "16384P", "16384.5P", "99999999999999999999K"}) {
    ASSERT_FALSE(ParseSize(text).ok()) << text;
  }
  EXPECT_EQ(ParseSize("16383.9999P").ValueOrDie() >> 50, 16383);
}

TEST(SizeTest, D1_LimitIsExactlyWhatWasWritten) {
  EXPECT_EQ(ParseSize("512M").ValueOrDie(), 536870912);
  EXPECT_EQ(ParseSize("1G").ValueOrDie(), 1073741824);
  EXPECT_EQ(ParseSize("8G").ValueOrDie(), 8589934592);
  // 1 + 2^-50 of a P, to the last of its digits: a double would lose the last byte or the
  // fraction's end.
  EXPECT_EQ(
      ParseSize("1.00000000000000088817841970012523233890533447265625P").ValueOrDie(),
      (uint64_t{1} << 50) + 1);
  EXPECT_EQ(
      ParseSize("1.00000000000000088817841970012523233890533447265624P").ValueOrDie(),
      uint64_t{1} << 50);
}

TEST(SizeTest, FormatIsExactAndReadsBack) {
  EXPECT_EQ(FormatSize(0), "0");
  EXPECT_EQ(FormatSize(1000), "1000");
  EXPECT_EQ(FormatSize(64 * kKi), "64K");
  EXPECT_EQ(FormatSize(kGi), "1G");
  EXPECT_EQ(FormatSize(kGi + kGi / 2), "1536M");
  EXPECT_EQ(FormatSize(uint64_t{2048} << 50), "2048P");
  for (const uint64_t bytes : {uint64_t{1}, kKi - 1, kKi + 1, 3 * kMi, 10 * kGi - 1,
                               std::numeric_limits<uint64_t>::max()}) {
    EXPECT_EQ(ParseSize(FormatSize(bytes)).ValueOrDie(), bytes);
  }
}

}  // namespace
}  // namespace flame
