// The order in which objects leave, by policy.
#include "flame/cache/eviction_policy.h"

#include <functional>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flame {
namespace {

class EvictionPolicyTest : public ::testing::Test {
 protected:
  void Add(const std::string& key, int64_t charge = 1) {
    EvictionNode& node = nodes_[key];
    node.charge = charge;
    node.hash = static_cast<uint32_t>(std::hash<std::string>()(key));
    policy_->Add(&node);
  }
  void Use(const std::string& key, int times = 1) {
    for (int i = 0; i < times; ++i) policy_->Use(&nodes_.at(key));
  }
  std::string Evict() {
    const EvictionNode* node = policy_->TakeVictim();
    for (const auto& [key, other] : nodes_) {
      if (node == &other) return key;
    }
    return "(nobody)";
  }

  std::map<std::string, EvictionNode> nodes_;
  std::unique_ptr<EvictionPolicy> policy_;
};

TEST_F(EvictionPolicyTest, LruEvictsTheLeastRecentlyUsed) {
  policy_ = MakeLruPolicy();
  EXPECT_EQ(Evict(), "(nobody)");
  for (const char* key : {"a", "b", "c", "d"}) Add(key);
  Use("a");
  policy_->Remove(&nodes_.at("c"));
  EXPECT_EQ(Evict(), "b");
  EXPECT_EQ(Evict(), "d");
  policy_->PutBack(&nodes_.at("b"));
  EXPECT_EQ(Evict(), "a");
  EXPECT_EQ(Evict(), "b");
  EXPECT_EQ(Evict(), "(nobody)");
}

TEST_F(EvictionPolicyTest, WhoIsWrittenAnewTakesOverThePlaceAndItsUses) {
  for (const auto& make : {MakeLruPolicy, MakeS3FifoPolicy}) {
    policy_ = make();
    nodes_.clear();
    for (const char* key : {"a", "b"}) Add(key);
    Use("a");
    EvictionNode& next = nodes_["a, again"];
    next.charge = 5;
    policy_->Replace(&nodes_.at("a"), &next);
    EXPECT_EQ(nodes_.at("a").queue, 0);
    EXPECT_EQ(Evict(), "b");
    EXPECT_EQ(Evict(), "a, again");
    EXPECT_EQ(Evict(), "(nobody)");
  }
}

TEST_F(EvictionPolicyTest, S3FifoLetsAScanPassWhatIsInUse) {
  policy_ = MakeS3FifoPolicy();
  for (int i = 0; i < 10; ++i) {
    Add("hot" + std::to_string(i));
    Use("hot" + std::to_string(i), 2);
  }
  for (int i = 0; i < 1000; ++i) {
    Add("scan" + std::to_string(i));
    EXPECT_THAT(Evict(), ::testing::StartsWith("scan"));
  }
}

TEST_F(EvictionPolicyTest, S3FifoTakesWhoComesBackIntoTheMainQueue) {
  policy_ = MakeS3FifoPolicy();
  Add("comes-back");
  EXPECT_EQ(Evict(), "comes-back");
  Add("comes-back");
  for (int i = 0; i < 20; ++i) Add("new" + std::to_string(i));
  // The small queue is over its tenth: its end leaves, the main queue stays.
  for (int i = 0; i < 18; ++i) EXPECT_EQ(Evict(), "new" + std::to_string(i));
}

TEST_F(EvictionPolicyTest, S3FifoGivesUsedMembersOfTheMainQueueAnotherRound) {
  policy_ = MakeS3FifoPolicy();
  for (const char* key : {"a", "b"}) {
    Add(key);
    Evict();
    Add(key);
  }
  Use("a");
  EXPECT_EQ(Evict(), "b");
  EXPECT_EQ(Evict(), "a");
  EXPECT_EQ(Evict(), "(nobody)");
}

}  // namespace
}  // namespace flame
