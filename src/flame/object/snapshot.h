// Snapshot: one version of one object as readers hold it, base and patches. Immutable; a
// reader's shared_ptr keeps the bytes alive while writers publish newer snapshots beside
// it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "flame/object/payload.h"

namespace flame {

using Version = int64_t;

/// A patch and those before it: a persistent list, newest first, so that N patches cost
/// O(N) in all and older snapshots share their part of it.
struct Patch {
  Version version;
  std::shared_ptr<const Payload> payload;
  std::shared_ptr<const Patch> previous;  // Null: the first after the base.
};

struct Snapshot {
  // Of these bytes in memory, never reused while the server lives. 0: too few to count.
  uint64_t id = 0;
  Version version = 0;  // Of the newest patch, else of the base.
  Version base_version = 0;
  uint64_t seq = 0;           // Of the commit, dense per slot.
  int64_t modified_ms = 0;    // Wall clock of the commit.
  int64_t expires_at_ms = 0;  // 0 = never.
  std::shared_ptr<const Payload> base;
  std::shared_ptr<const Patch> last_patch;  // Null = none.
  int32_t patch_count = 0;
  int64_t bytes = 0;  // Payload bytes, base and patches.

  Kind kind() const { return base->kind(); }
  /// The patches newer than `known`, oldest first. Pointers into this snapshot's list.
  std::vector<const Patch*> PatchesAfter(Version known) const {
    std::vector<const Patch*> patches;
    for (const Patch* patch = last_patch.get();
         patch != nullptr && patch->version > known; patch = patch->previous.get()) {
      patches.push_back(patch);
    }
    std::reverse(patches.begin(), patches.end());
    return patches;
  }
};

}  // namespace flame
