// The promises of every KeyValueStore, on each of them.
#include "flame/storage/key_value.h"

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

using ::testing::ElementsAre;

struct Memory {
  static constexpr bool kDurable = false;
  static arrow::Result<std::unique_ptr<KeyValueStore>> Open(const std::string&) {
    return OpenMemoryKeyValue();
  }
};
struct Disk {
  static constexpr bool kDurable = true;
  static arrow::Result<std::unique_ptr<KeyValueStore>> Open(const std::string& folder) {
    return OpenDiskKeyValue(folder + "/state");
  }
};

template <typename Backend>
class KeyValueContractTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK_AND_ASSIGN(store_, Backend::Open(folder_.path())); }
  void Reopen() {
    store_.reset();
    SetUp();
  }
  std::vector<std::string> Keys(std::string_view prefix) {
    std::vector<std::string> keys;
    EXPECT_OK(store_->Visit(
        prefix, [&](std::string_view key, std::string_view) -> arrow::Result<bool> {
          keys.emplace_back(key);
          return true;
        }));
    return keys;
  }

  TempDirectory folder_;
  std::unique_ptr<KeyValueStore> store_;
};
using Backends = ::testing::Types<Memory, Disk>;
TYPED_TEST_SUITE(KeyValueContractTest, Backends);

TYPED_TEST(KeyValueContractTest, MissIsAValue) {
  ASSERT_OK_AND_ASSIGN(const auto found, this->store_->Get("absent"));
  EXPECT_FALSE(found.has_value());
}

TYPED_TEST(KeyValueContractTest, ChangesAreMadeInOrder) {
  ASSERT_OK(this->store_->Write({{"a", "1"}, {"a", "2"}, {"b", ""}, {"c", "x"}}));
  ASSERT_OK(this->store_->Write({{"c", std::nullopt}}));

  EXPECT_EQ(*this->store_->Get("a"), "2");
  EXPECT_EQ(*this->store_->Get("b"), "");
  EXPECT_EQ(*this->store_->Get("c"), std::nullopt);
}

TYPED_TEST(KeyValueContractTest, VisitSeesAPrefixInOrder) {
  ASSERT_OK(this->store_->Write({{"b2", ""}, {"b1", ""}, {"a", ""}, {"c", ""}}));

  EXPECT_THAT(this->Keys("b"), ElementsAre("b1", "b2"));
  EXPECT_THAT(this->Keys(""), ElementsAre("a", "b1", "b2", "c"));
}

TYPED_TEST(KeyValueContractTest, AcknowledgedWriteSurvivesReopen) {
  if (!TypeParam::kDurable) GTEST_SKIP() << "this one promises no durability";
  const std::string large(1 << 20, 'x');
  ASSERT_OK(this->store_->Write({{"large", large}, {"empty", ""}}));

  this->Reopen();

  EXPECT_EQ(*this->store_->Get("large"), large);
  EXPECT_EQ(*this->store_->Get("empty"), "");
}

TEST(DiskKeyValueTest, SecondOpenSaysWhoHasIt) {
  const TempDirectory folder;
  ASSERT_OK_AND_ASSIGN(const auto first, OpenDiskKeyValue(folder / "state"));
  const auto second = OpenDiskKeyValue(folder / "state");
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.status().message(),
              ::testing::HasSubstr("in use by another process"));
}

}  // namespace
}  // namespace flame
