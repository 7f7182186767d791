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

void Residency::Set(Resident* old, Resident* next) {
  MutexLock lock(mutex_);
  bytes_ += (next == nullptr ? 0 : next->charge) - (old == nullptr ? 0 : old->charge);
  objects_ += (next != nullptr) - (old != nullptr);
  if (policy_ == nullptr) return;
  const bool queued = old != nullptr && old->queue != 0;  // Else it was a victim.
  if (queued && next != nullptr) {
    policy_->Replace(old, next);
  } else if (queued) {
    policy_->Remove(old);
  } else if (next != nullptr) {
    policy_->Add(next);
  }
}

void Residency::Use(Resident* object) {
  if (policy_ == nullptr) return;
  MutexLock lock(mutex_);
  if (object->queue != 0) policy_->Use(object);
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
  return std::string(static_cast<const Resident*>(node)->key());
}

void Residency::PutBack(Resident* object) {
  if (policy_ == nullptr) return;
  MutexLock lock(mutex_);
  if (object->queue == 0) policy_->PutBack(object);
}

}  // namespace flame
