#include <cstdlib>

#include <arrow/util/logging.h>
#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/memory/buffer_pool.h"

namespace flame {
namespace {

class HeapPool;

/// Sealing changes nothing but the type: the same object is then shared as const.
class HeapBuffer final : public arrow::MutableBuffer {
 public:
  HeapBuffer(uint8_t* block, uint8_t* data, int64_t size, std::atomic<int64_t>* allocated)
      : arrow::MutableBuffer(data, size), block_(block), allocated_(allocated) {
    allocated_->fetch_add(size, std::memory_order_relaxed);
  }
  ~HeapBuffer() override {
    allocated_->fetch_sub(size(), std::memory_order_relaxed);
    std::free(block_);
  }

 private:
  uint8_t* const block_;
  std::atomic<int64_t>* const allocated_;  // The pool's; outlives its buffers.
};

class HeapPool final : public BufferPool {
 public:
  arrow::Result<std::unique_ptr<arrow::MutableBuffer>> Allocate(int64_t size,
                                                                int64_t align,
                                                                int64_t phase) override {
    ARROW_DCHECK(align > 0 && (align & (align - 1)) == 0 && phase >= 0 && phase < align);
    void* block = nullptr;
    if (align <= 16 && phase == 0) {
      block = std::malloc(static_cast<size_t>(std::max<int64_t>(size, 1)));
    } else {
      // aligned_alloc wants a size that is a multiple of the alignment, and not zero.
      const int64_t unit = std::max<int64_t>(align, 16);
      const int64_t bytes = std::max((size + phase + unit - 1) / unit * unit, unit);
      block = std::aligned_alloc(static_cast<size_t>(unit), static_cast<size_t>(bytes));
    }
    if (block == nullptr) {
      return MakeError(ErrorCode::kExhausted,
                       fmt::format("no memory for {} bytes", size));
    }
    auto* bytes = static_cast<uint8_t*>(block);
    return std::make_unique<HeapBuffer>(bytes, bytes + phase, size, &allocated_);
  }

  std::shared_ptr<arrow::Buffer> Seal(
      std::unique_ptr<arrow::MutableBuffer> buffer) override {
    return std::shared_ptr<arrow::Buffer>(std::move(buffer));
  }

  Address Locate(const arrow::Buffer& buffer) const override {
    return {dynamic_cast<const HeapBuffer*>(&buffer) != nullptr ? Place::kHeap
                                                                : Place::kForeign,
            0};
  }
  // Reference counts free heap buffers; there is nothing to scan for.
  void Retire(std::shared_ptr<const Snapshot>) override {}
  int64_t Allocated() const override {
    return allocated_.load(std::memory_order_relaxed);
  }
  int64_t Freeable() const override { return Allocated(); }

 private:
  std::atomic<int64_t> allocated_{0};
};

}  // namespace

std::unique_ptr<BufferPool> MakeHeapPool() { return std::make_unique<HeapPool>(); }

}  // namespace flame
