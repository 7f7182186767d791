// The promises of every BufferPool, written once and run on each.
#include "flame/memory/buffer_pool.h"

#include <cstring>

#include <arrow/testing/gtest_util.h>
#include <gtest/gtest.h>

namespace flame {
namespace {

struct HeapBackend {
  static std::unique_ptr<BufferPool> Open() { return MakeHeapPool(); }
};

template <typename Backend>
class BufferPoolContractTest : public ::testing::Test {
 protected:
  std::unique_ptr<BufferPool> pool_ = Backend::Open();
};
using Backends = ::testing::Types<HeapBackend>;
TYPED_TEST_SUITE(BufferPoolContractTest, Backends);

TYPED_TEST(BufferPoolContractTest, BuffersStartAtTheirPhase) {
  for (int64_t align : {1, 8, 64, 4096}) {
    for (int64_t phase : {int64_t{0}, align / 2, align - 4 > 0 ? align - 4 : 0}) {
      for (int64_t size : {0, 1, 63, 64, 100'000}) {
        ASSERT_OK_AND_ASSIGN(auto buffer, this->pool_->Allocate(size, align, phase));
        EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->mutable_data()) % align, phase);
        EXPECT_EQ(buffer->size(), size);
        std::memset(buffer->mutable_data(), 0xab, size);
      }
    }
  }
}

TYPED_TEST(BufferPoolContractTest, SealingKeepsTheBytesInPlace) {
  ASSERT_OK_AND_ASSIGN(auto buffer, this->pool_->Allocate(5, 64, 60));
  std::memcpy(buffer->mutable_data(), "hello", 5);
  const uint8_t* const address = buffer->data();
  const auto sealed = this->pool_->Seal(std::move(buffer));
  EXPECT_EQ(sealed->data(), address);
  EXPECT_EQ(sealed->ToString(), "hello");
}

TYPED_TEST(BufferPoolContractTest, CountsWhatIsOut) {
  EXPECT_EQ(this->pool_->Allocated(), 0);
  {
    ASSERT_OK_AND_ASSIGN(auto buffer, this->pool_->Allocate(1000, 64, 0));
    EXPECT_EQ(this->pool_->Allocated(), 1000);
    EXPECT_LE(this->pool_->Freeable(), this->pool_->Allocated());
  }
  EXPECT_EQ(this->pool_->Allocated(), 0);
}

TYPED_TEST(BufferPoolContractTest, KnowsItsOwnBuffers) {
  ASSERT_OK_AND_ASSIGN(auto buffer, this->pool_->Allocate(10, 64, 0));
  EXPECT_NE(this->pool_->Locate(*buffer).place, BufferPool::Place::kForeign);
  EXPECT_EQ(this->pool_->Locate(*arrow::Buffer::FromString("x")).place,
            BufferPool::Place::kForeign);
}

TEST(CompactTest, SmallPayloadsLetGoOfTheMessageThatBroughtThem) {
  const auto pool = MakeHeapPool();
  auto message = arrow::Buffer::FromString(std::string(100'000, 'x'));
  const std::weak_ptr<arrow::Buffer> watched = message;
  auto payload = Payload::Opaque({arrow::SliceBuffer(message, 10, 20)});
  message.reset();
  ASSERT_OK_AND_ASSIGN(payload, Compact(std::move(payload), 1024, pool.get()));
  EXPECT_TRUE(watched.expired());
  EXPECT_EQ(payload->size(), 20);
}

TEST(CompactTest, LargePayloadsAreNotCopied) {
  const auto pool = MakeHeapPool();
  const auto payload =
      Payload::Opaque({arrow::Buffer::FromString(std::string(2000, 'x'))});
  ASSERT_OK_AND_ASSIGN(auto compacted, Compact(payload, 1024, pool.get()));
  EXPECT_EQ(compacted.get(), payload.get());
  EXPECT_EQ(pool->Allocated(), 0);
}

}  // namespace
}  // namespace flame
