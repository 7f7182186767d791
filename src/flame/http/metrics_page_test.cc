#include "flame/http/metrics_page.h"

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/storage/memory_store.h"

namespace flame {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class MetricsPageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(store_, MemoryStore::Open({}));
    cache_ = std::make_unique<Cache>(store_.get(), pool_.get(), Clock::System(),
                                     &allow_all_, CacheOptions{});
  }
  MetricsPage::Sources Sources() {
    return {cache_.get(), store_.get(), &uploads_, &replies_, {&door_}};
  }

  const std::unique_ptr<BufferPool> pool_ = MakeHeapPool();
  const AllowAll allow_all_;
  Budget uploads_{1000};
  Budget replies_{2000};
  DoorMetrics door_{"test"};
  std::unique_ptr<MemoryStore> store_;
  std::unique_ptr<Cache> cache_;
  MetricsPage page_{"1.2.3"};
};

TEST_F(MetricsPageTest, WhatADoorCountsIsShown) {
  auto& get = door_.of(DoorOperation::kGet);
  get.latency.Observe(std::chrono::microseconds(30));
  get.latency.Observe(std::chrono::seconds(100));
  get.sent_bytes.Add(7);
  get.errors[static_cast<size_t>(ErrorCode::kNotFound)].Add(3);
  ASSERT_OK_AND_ASSIGN(const auto lease, uploads_.Acquire(10, {}));
  const MetricsPage::Watch watch(&page_, Sources());
  const std::string text = page_.Page().body;
  const std::string labels = R"(door="test",operation="get")";
  for (const std::string& line :
       {"flame_requests_total{" + labels + "} 2",
        "flame_request_errors_total{" + labels + ",code=\"not_found\"} 3",
        "flame_request_duration_seconds_bucket{" + labels + ",le=\"2.5e-05\"} 0",
        "flame_request_duration_seconds_bucket{" + labels + ",le=\"5e-05\"} 1",
        "flame_request_duration_seconds_bucket{" + labels + ",le=\"60\"} 1",
        "flame_request_duration_seconds_bucket{" + labels + ",le=\"+Inf\"} 2",
        "flame_request_duration_seconds_count{" + labels + "} 2",
        "flame_request_sent_bytes_total{" + labels + "} 7",
        std::string(R"(flame_in_flight_bytes{direction="in"} 10)"),
        std::string(R"(flame_in_flight_limit_bytes{direction="out"} 2000)"),
        std::string(R"(flame_build_info{version="1.2.3"} 1)")}) {
    EXPECT_THAT(text, HasSubstr("\n" + line + "\n"));
  }
}

TEST_F(MetricsPageTest, ThePageOutlivesWhatItShows) {
  EXPECT_THAT(page_.Page().body, Not(HasSubstr("flame_cache_")));
  {
    const MetricsPage::Watch watch(&page_, Sources());
    EXPECT_THAT(page_.Page().body, HasSubstr("flame_cache_"));
  }
  const std::string text = page_.Page().body;
  EXPECT_THAT(text, Not(HasSubstr("flame_cache_")));
  EXPECT_THAT(text, HasSubstr("flame_process_cpu_seconds_total "));
}

TEST_F(MetricsPageTest, StoredObjectsAreCounted) {
  const MetricsPage::Watch watch(&page_, Sources());
  ASSERT_OK(cache_->Put({}, *Key::Parse("a/s/o"),
                        Payload::Opaque({arrow::Buffer::FromString("twelve bytes")})));
  const std::string text = page_.Page().body;
  EXPECT_THAT(text, HasSubstr("\nflame_storage_objects_estimate 1\n"));
  EXPECT_THAT(text, HasSubstr("\nflame_storage_bytes_estimate 12\n"));
}

}  // namespace
}  // namespace flame
