// What one server lets its clients take. Each limit is a setting below `cache.limits`.
#pragma once

#include <cstdint>
#include <limits>

namespace flame {

struct FlightLimits {
  int64_t object =
      std::numeric_limits<int64_t>::max();  // Payload bytes of a put or patch.
  int64_t streams = 2048;                   // Calls that run at once.
  int64_t list_objects =
      100'000;  // Entries of a page of a list or feed; items of a batch.
  int64_t list_bytes = 64 << 20;  // Bytes of a page; of the reply to a batch of reads.
};

}  // namespace flame
