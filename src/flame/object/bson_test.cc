#include "flame/object/bson.h"

#include <random>

#include <gtest/gtest.h>

namespace flame {
namespace {

TEST(BsonTest, ReadsWhatItWrote) {
  std::vector<std::unique_ptr<BsonWriter>> items;
  items.push_back(std::make_unique<BsonWriter>());
  items.back()->Add("key", "a/b/c");
  const std::string bytes = BsonWriter()
                                .Add("text", "ü")
                                .Add("number", int64_t{-5})
                                .AddBool("flag", true)
                                .AddBinary("blob", std::string_view("\0\x01", 2))
                                .AddArray("items", items)
                                .Finish();
  const BsonReader reader = *BsonReader::Open(bytes);
  EXPECT_EQ(*reader.String("text"), "ü");
  EXPECT_EQ(*reader.Int("number"), -5);
  EXPECT_EQ(*reader.Bool("flag"), true);
  EXPECT_EQ(*reader.Binary("blob"), std::string_view("\0\x01", 2));
  EXPECT_EQ((*reader.RequireArray("items")).at(0).RequireString("key").ValueOrDie(),
            "a/b/c");
  EXPECT_FALSE((*reader.Int("absent")).has_value());
}

TEST(BsonTest, AWrongTypeIsAnErrorThatNamesTheField) {
  const std::string bytes = BsonWriter().Add("key", int64_t{1}).Finish();
  const BsonReader reader = *BsonReader::Open(bytes);
  const auto text = reader.String("key");
  ASSERT_FALSE(text.ok());
  EXPECT_NE(text.status().message().find("'key'"), std::string::npos);
  EXPECT_FALSE(reader.RequireString("missing").ok());
}

// Goal: bytes from the network never crash the reader. Method: flip random bits of a good
// document.
TEST(BsonTest, DamagedDocumentsAreRefusedOrReadSafely) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::vector<std::unique_ptr<BsonWriter>> items;
  items.push_back(std::make_unique<BsonWriter>());
  items.back()->Add("key", "a/b/c").AddBinary("data", "xyz");
  const std::string good =
      BsonWriter().Add("key", "a/b/c").AddArray("items", items).Finish();
  for (int i = 0; i < 20'000; ++i) {
    std::string bad = good;
    for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips) {
      bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
    }
    const auto reader = BsonReader::Open(bad);
    if (!reader.ok()) continue;
    (void)reader->String("key");
    const auto array = reader->RequireArray("items");
    if (array.ok()) {
      for (const BsonReader& item : *array) (void)item.Binary("data");
    }
  }
}

}  // namespace
}  // namespace flame
