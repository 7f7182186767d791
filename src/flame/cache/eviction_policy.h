// EvictionPolicy: in which order resident objects leave memory. Least recently used, or
// S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache
// eviction", SOSP 2023), which keeps one scan over many objects from washing out those in
// use.
//
// Confined to its owner's lock (Residency). Allocates nothing per object but for
// S3-FIFO's memory of what has left: the nodes are part of the objects.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "flame/storage/eviction_node.h"

namespace flame {

/// A queue of nodes, threaded through them.
class EvictionQueue {
 public:
  explicit EvictionQueue(uint8_t id) : id_(id) { ends_.newer = ends_.older = &ends_; }
  EvictionQueue(const EvictionQueue&) = delete;
  EvictionQueue& operator=(const EvictionQueue&) = delete;

  void PushNewest(EvictionNode* node);
  void Remove(EvictionNode* node);
  /// `next` takes the place of the member `node`.
  void Replace(EvictionNode* node, EvictionNode* next);
  /// REQUIRES: not empty.
  EvictionNode* PopOldest();

  bool empty() const { return count_ == 0; }
  bool Has(const EvictionNode* node) const { return node->queue == id_; }
  int64_t bytes() const { return bytes_; }
  int64_t count() const { return count_; }

 private:
  const uint8_t id_;
  EvictionNode ends_;  // Its `older` is the newest member, its `newer` the oldest.
  int64_t bytes_ = 0;
  int64_t count_ = 0;
};

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  /// A new resident object. REQUIRES: in no queue, charge and hash set.
  virtual void Add(EvictionNode* node) = 0;
  virtual void Remove(EvictionNode* node) = 0;
  /// It was read.
  virtual void Use(EvictionNode* node) = 0;
  /// It was written anew: `next`, in no queue, takes its place, and is used.
  virtual void Replace(EvictionNode* node, EvictionNode* next) = 0;
  /// Takes the object that should leave next out of the queues; null = there is none.
  virtual EvictionNode* TakeVictim() = 0;
  /// A victim that could not leave now.
  virtual void PutBack(EvictionNode* node) = 0;
};

std::unique_ptr<EvictionPolicy> MakeLruPolicy();
std::unique_ptr<EvictionPolicy> MakeS3FifoPolicy();

}  // namespace flame
