// What an object costs beside its bytes is what eviction charges for it: the limits are
// about memory, not only about payloads.
#include <malloc.h>

#include "flame/cache/cache_testing.h"

namespace flame {
namespace {

// Sanitizers have allocators of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

template <typename Backend>
class MemoryCostTest : public CacheContractTest<Backend> {};
using MeasuredBackends = ::testing::Types<MemoryBackend, FsBackend<65536>>;
TYPED_TEST_SUITE(MemoryCostTest, MeasuredBackends);

int64_t HeapBytes() { return static_cast<int64_t>(mallinfo2().uordblks); }

TYPED_TEST(MemoryCostTest, TheChargeCoversWhatTheAllocatorHandsOutAndNotMuchMore) {
  constexpr int kObjects = 20'000;
  const std::string bytes(100, 'x');
  auto key = [](int i) { return "application/session/object-" + std::to_string(i); };
  int64_t before = HeapBytes();
  for (int i = 0; i < kObjects; ++i) ASSERT_OK(this->Put(key(i), bytes));
  if (TypeParam::kDurable) {
    // Loaded, so that the database's write buffers are not counted.
    this->Reopen();
    before = HeapBytes();
    for (int i = 0; i < kObjects; ++i) {
      ASSERT_OK(this->cache_->Get({}, this->K(key(i)), 0));
    }
  }
  const auto stats = this->cache_->stats();
  ASSERT_EQ(stats.resident_objects, kObjects);
  const int64_t cost = (HeapBytes() - before) / kObjects;
  const int64_t charge = stats.resident_bytes / kObjects;
  std::printf("%lld bytes beside payload and key, charged %lld\n",
              static_cast<long long>(cost - 100 - std::ssize(key(10'000))),
              static_cast<long long>(charge - 100 - std::ssize(key(10'000))));
  EXPECT_LE(cost, charge);
  EXPECT_GE(cost, charge * 7 / 10);
}

#endif

}  // namespace
}  // namespace flame
