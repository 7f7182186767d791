#include <arrow/io/memory.h>

#include "flame/memory/buffer_pool.h"

namespace flame {

arrow::Result<std::shared_ptr<const Payload>> Compact(
    std::shared_ptr<const Payload> payload, int64_t max_bytes, BufferPool* pool) {
  if (payload->size() > max_bytes) return payload;
  ARROW_ASSIGN_OR_RAISE(auto buffer, pool->Allocate(StoredSize(*payload), 8, 0));
  std::shared_ptr<arrow::Buffer> bytes = pool->Seal(std::move(buffer));
  arrow::io::FixedSizeBufferWriter sink(bytes);
  ARROW_RETURN_NOT_OK(WriteStored(*payload, &sink));
  return ReadStored(payload->kind(), payload->schema(), bytes);
}

}  // namespace flame
