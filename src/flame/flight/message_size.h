// What a decoded record batch holds in memory: more than its columns' lengths say, when
// columns are nested or encoded, or when they are a small part of the message that
// brought them.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_set>

#include <arrow/record_batch.h>

namespace flame {

struct BatchSize {
  // Of all buffers, each as often as it is named: what the batch has when it is written.
  int64_t bytes = 0;
  // Of the memory that the buffers lie in, each once.
  int64_t memory = 0;
  // Of the objects around them.
  int64_t around = 0;
};

/// `counted` remembers memory that an earlier batch of the same stream holds, such as a
/// dictionary's; may be null.
BatchSize SizeOf(const arrow::RecordBatch& batch,
                 std::unordered_set<const void*>* counted = nullptr);

/// About what a schema has as a message.
int64_t SizeOf(const arrow::Schema& schema);

}  // namespace flame
