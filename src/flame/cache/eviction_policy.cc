#include "flame/cache/eviction_policy.h"

#include <algorithm>
#include <deque>
#include <unordered_map>

namespace flame {

void EvictionQueue::PushNewest(EvictionNode* node) {
  node->queue = id_;
  node->newer = &ends_;
  node->older = ends_.older;
  ends_.older->newer = node;
  ends_.older = node;
  bytes_ += node->charge;
  ++count_;
}

void EvictionQueue::Remove(EvictionNode* node) {
  node->newer->older = node->older;
  node->older->newer = node->newer;
  node->newer = node->older = nullptr;
  node->queue = 0;
  bytes_ -= node->charge;
  --count_;
}

void EvictionQueue::Replace(EvictionNode* node, EvictionNode* next) {
  next->newer = node->newer;
  next->older = node->older;
  next->newer->older = next->older->newer = next;
  next->queue = id_;
  next->uses = node->uses;
  bytes_ += next->charge - node->charge;
  node->newer = node->older = nullptr;
  node->queue = 0;
}

EvictionNode* EvictionQueue::PopOldest() {
  EvictionNode* oldest = ends_.newer;
  Remove(oldest);
  return oldest;
}

namespace {

class LruPolicy final : public EvictionPolicy {
 public:
  void Add(EvictionNode* node) override { queue_.PushNewest(node); }
  void Remove(EvictionNode* node) override { queue_.Remove(node); }
  void Use(EvictionNode* node) override {
    queue_.Remove(node);
    queue_.PushNewest(node);
  }
  void Replace(EvictionNode* node, EvictionNode* next) override {
    queue_.Replace(node, next);
    Use(next);
  }
  EvictionNode* TakeVictim() override {
    return queue_.empty() ? nullptr : queue_.PopOldest();
  }
  void PutBack(EvictionNode* node) override { queue_.PushNewest(node); }

 private:
  EvictionQueue queue_{1};
};

// Objects enter a small queue. Those used more than once by the time they reach its end
// move to the main queue; the others leave, and only their names are remembered for a
// while (the "ghosts"): who comes back meanwhile enters the main queue at once. The main
// queue gives a member as many more rounds as it was used, three at most.
class S3FifoPolicy final : public EvictionPolicy {
 public:
  void Add(EvictionNode* node) override {
    node->uses = 0;
    (TakeGhost(node->hash) ? main_ : small_).PushNewest(node);
  }
  void Remove(EvictionNode* node) override { QueueOf(node).Remove(node); }
  void Use(EvictionNode* node) override {
    if (node->uses < kMaxUses) ++node->uses;
  }
  void Replace(EvictionNode* node, EvictionNode* next) override {
    QueueOf(node).Replace(node, next);
    Use(next);
  }
  EvictionNode* TakeVictim() override {
    while (!small_.empty() || !main_.empty()) {
      const int64_t share = (small_.bytes() + main_.bytes()) / kSmallShare;
      if (main_.empty() || (!small_.empty() && small_.bytes() >= share)) {
        EvictionNode* node = small_.PopOldest();
        if (node->uses <= 1) {
          AddGhost(node->hash);
          return node;
        }
        node->uses = 0;
        main_.PushNewest(node);
      } else {
        EvictionNode* node = main_.PopOldest();
        if (node->uses == 0) return node;
        --node->uses;
        main_.PushNewest(node);
      }
    }
    return nullptr;
  }
  void PutBack(EvictionNode* node) override { main_.PushNewest(node); }

 private:
  static constexpr uint8_t kMaxUses = 3;
  static constexpr int64_t kSmallShare = 10;  // The small queue has a tenth of the bytes.

  EvictionQueue& QueueOf(const EvictionNode* node) {
    return small_.Has(node) ? small_ : main_;
  }
  bool TakeGhost(uint32_t hash) {
    // Its place in the order stays, and is passed over when its time comes.
    const auto found = ghosts_.find(hash);
    if (found == ghosts_.end()) return false;
    ghosts_.erase(found);
    return true;
  }
  /// As many ghosts as the main queue has members.
  void AddGhost(uint32_t hash) {
    ghosts_[hash] = ++ghost_number_;
    ghost_order_.emplace_back(hash, ghost_number_);
    while (std::ssize(ghost_order_) > std::max<int64_t>(main_.count(), kMinGhosts)) {
      const auto [oldest, number] = ghost_order_.front();
      ghost_order_.pop_front();
      const auto found = ghosts_.find(oldest);
      if (found != ghosts_.end() && found->second == number) ghosts_.erase(found);
    }
  }

  static constexpr int64_t kMinGhosts = 16;
  EvictionQueue small_{1};
  EvictionQueue main_{2};
  std::unordered_map<uint32_t, uint64_t> ghosts_;  // Hash -> number in the order.
  std::deque<std::pair<uint32_t, uint64_t>> ghost_order_;
  uint64_t ghost_number_ = 0;
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeLruPolicy() { return std::make_unique<LruPolicy>(); }

std::unique_ptr<EvictionPolicy> MakeS3FifoPolicy() {
  return std::make_unique<S3FifoPolicy>();
}

}  // namespace flame
