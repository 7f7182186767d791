// EvictionNode: the place of a resident object in the queues of an eviction policy
// (cache/eviction_policy.h). Part of the object, so that queues allocate nothing.
//
// Guarded by Residency's lock.
#pragma once

#include <cstdint>

namespace flame {

/// One resident object, as the policy sees it.
struct EvictionNode {
  EvictionNode* newer = nullptr;
  EvictionNode* older = nullptr;
  int64_t charge = 0;  // Bytes.
  uint32_t hash = 0;   // Of the key: known again when it comes back.
  uint8_t queue = 0;   // The policy's; 0 = in none.
  uint8_t uses = 0;    // The policy's.
};

}  // namespace flame
