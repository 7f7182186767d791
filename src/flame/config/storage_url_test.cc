#include "flame/config/storage_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flame {
namespace {

std::string Parsed(std::string_view text) {
  return FormatStorageUrl(ParseStorageUrl(text, "/var/lib/flame", "/here").ValueOrDie());
}

TEST(StorageUrlTest, EveryFormIsUnderstood) {
  EXPECT_EQ(Parsed(""), "none");
  EXPECT_EQ(Parsed("none"), "none");
  EXPECT_EQ(Parsed("fs:///data/cache"), "fs:///data/cache");
  EXPECT_EQ(Parsed("file:///data/cache/"), "fs:///data/cache");
  EXPECT_EQ(Parsed("fs://data/cache"), "fs:///var/lib/flame/data/cache");
  EXPECT_EQ(Parsed("file://cache"), "fs:///var/lib/flame/cache");
  EXPECT_EQ(Parsed("/data/cache"), "fs:///data/cache");
  EXPECT_EQ(Parsed("cache"), "fs:///here/cache");
  EXPECT_EQ(Parsed("./a/../cache"), "fs:///here/cache");
  EXPECT_EQ(Parsed("fs:///"), "fs:///");
}

TEST(StorageUrlTest, UnknownSchemeIsAnErrorAndNotAFolderOfThatName) {
  for (const char* text :
       {"s3://bucket/x", "FS:///x", "http://x", "://x", "fs://", "file://"}) {
    const auto storage = ParseStorageUrl(text, "/var/lib/flame", "/here");
    ASSERT_FALSE(storage.ok()) << text;
    EXPECT_THAT(storage.status().message(), ::testing::HasSubstr(text));
  }
}

}  // namespace
}  // namespace flame
