#include "flame/cache/residency.h"

namespace flame {
namespace {

std::unique_ptr<EvictionPolicy> MakePolicy(EvictionOptions::Policy policy) {
  switch (policy) {
    case EvictionOptions::Policy::kLru:
      return MakeLruPolicy();
    case EvictionOptions::Policy::kS3Fifo:
      return MakeS3FifoPolicy();
    case EvictionOptions::Policy::kNone:
      break;
  }
  return nullptr;
}

}  // namespace

Residency::Residency(const EvictionOptions& options)
    : options_(options), policy_(MakePolicy(options.policy)) {}

void Residency::Set(const std::string& key, EvictionNode* node, int64_t charge) {
  MutexLock lock(mutex_);
  bytes_ += charge - node->charge;
  objects_ += (charge != 0) - (node->charge != 0);
  if (policy_ == nullptr) {
    node->charge = charge;
    return;
  }
  if (node->queue != 0 && charge != 0) {
    policy_->Recharge(node, charge);
    policy_->Use(node);
    return;
  }
  if (node->queue != 0) policy_->Remove(node);
  node->charge = charge;
  node->key = &key;
  if (charge != 0) policy_->Add(node);
}

void Residency::Use(EvictionNode* node) {
  if (policy_ == nullptr) return;
  MutexLock lock(mutex_);
  if (node->queue != 0) policy_->Use(node);
}

bool Residency::IsOver(int64_t bytes, int64_t objects) const {
  if (policy_ == nullptr) return false;
  return (options_.max_bytes && bytes_ - bytes > *options_.max_bytes) ||
         (options_.max_objects && objects_ - objects > *options_.max_objects);
}

bool Residency::CanFit(int64_t charge) const {
  if (policy_ == nullptr) return true;
  return (!options_.max_bytes || charge <= *options_.max_bytes) &&
         (!options_.max_objects || *options_.max_objects > 0);
}

std::optional<std::string> Residency::TakeVictim() {
  if (policy_ == nullptr) return std::nullopt;
  MutexLock lock(mutex_);
  const EvictionNode* node = policy_->TakeVictim();
  if (node == nullptr) return std::nullopt;
  return *node->key;
}

void Residency::PutBack(EvictionNode* node) {
  MutexLock lock(mutex_);
  if (policy_ != nullptr && node->queue == 0 && node->charge != 0) policy_->PutBack(node);
}

}  // namespace flame
