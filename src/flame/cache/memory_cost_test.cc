// What an object costs beside its bytes is what eviction charges for it: the limits are
// about memory, not only about payloads.
#include <malloc.h>

#include "flame/cache/cache_testing.h"

namespace flame {
namespace {

/// Handed out and not returned, by the C library and by Arrow's allocator; but for the
/// blocks of tables that RocksDB keeps, which have a limit of their own.
int64_t HeapBytes(const Store& store) {
  const auto database = store.stats().database;
  return static_cast<int64_t>(mallinfo2().uordblks) +
         arrow::default_memory_pool()->bytes_allocated() -
         (database ? database->block_cache_bytes : 0);
}

template <typename Backend>
class MemoryCostTest : public CacheContractTest<Backend> {
 protected:
  void Measure(int objects, int64_t size) {
    const std::string bytes(static_cast<size_t>(size), 'x');
    auto key = [](int i) { return "application/session/object-" + std::to_string(i); };
    // The feed remembers so many events, whatever they are about; a new one has none.
    const size_t events = Backend::kDurable ? 0 : CacheOptions().feed_capacity;
    for (size_t i = 0; i < events; ++i) {
      ASSERT_OK(this->Put(key(-1), bytes));
    }
    int64_t before = HeapBytes(*this->store_);
    for (int i = 0; i < objects; ++i) ASSERT_OK(this->Put(key(i), bytes));
    if (Backend::kDurable) {
      // Loaded, so that the database's write buffers are not counted.
      this->Reopen();
      before = HeapBytes(*this->store_);
      for (int i = 0; i < objects; ++i) {
        ASSERT_OK(this->cache_->Get({}, this->K(key(i)), 0));
      }
    }
    const auto stats = this->cache_->stats();
    ASSERT_EQ(stats.resident_objects, objects + (Backend::kDurable ? 0 : 1));
    const int64_t charge = stats.resident_bytes / stats.resident_objects;
    const int64_t cost = (HeapBytes(*this->store_) - before) / objects;
    std::printf("%lld bytes beside payload and key, charged %lld\n",
                static_cast<long long>(cost - size - std::ssize(key(objects / 2))),
                static_cast<long long>(charge - size - std::ssize(key(objects / 2))));
    EXPECT_LE(cost, charge);
    EXPECT_GE(cost, charge * 7 / 10);
  }
};
using MeasuredBackends = ::testing::Types<MemoryBackend, FsBackend<65536>>;
TYPED_TEST_SUITE(MemoryCostTest, MeasuredBackends);

TYPED_TEST(MemoryCostTest, TheChargeCoversWhatTheAllocatorHandsOutAndNotMuchMore) {
  this->Measure(20'000, 100);
}

TYPED_TEST(MemoryCostTest, AlsoOfObjectsThatAreTooLargeToBePacked) {
  this->Measure(2'000, Resident::kMaxPackedBytes + 1);
}

}  // namespace
}  // namespace flame
