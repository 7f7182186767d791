// Goal: whatever operation of the disk fails, every acknowledged write is there, whole,
// no version is used twice, reads go on, and a failed write tells whether it was applied
// (P1 to P3). Method: 200 steps, in which operation N of all that changes the disk -
// RocksDB's files and ours - fails, for every N at night and a sample else; after the
// steps the store is killed and opened again.
#include <gtest/gtest.h>

#include <future>
#include <mutex>

#include <arrow/testing/gtest_util.h>

#include "flame/base/log.h"
#include "flame/cache/workload_testing.h"
#include "flame/storage/faulty_file_system.h"
#include "flame/storage/faulty_rocks_files.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

constexpr int kSteps = 200;

enum class Fault {
  kOnce,   // One operation fails; the disk is fine again at once.
  kPause,  // The disk is broken for some steps, then mended.
  kCrash,  // Nothing reaches the disk from then on, and then the server dies.
};

struct Case {
  const char* name;
  Fault fault;
  int error;
  Durability durability;
};

class FaultTest : public ::testing::Test {
 protected:
  void SetUp() override {
    GetLogger("cache")->set_level(spdlog::level::off);
    GetLogger("storage")->set_level(spdlog::level::off);
  }

  void Open(Durability durability) {
    FsStoreOptions options;
    options.root = *dir_ / "store";
    options.sync_always = durability == Durability::kDisk;
    options.env = env_.get();
    ASSERT_OK_AND_ASSIGN(auto real, OpenFileSystem(options.root));
    options.file_system = std::make_shared<FaultyFileSystem>(std::move(real), plan_);
    ASSERT_OK_AND_ASSIGN(store_, FsStore::Open(options));
    CacheOptions cache_options;
    cache_options.durability = durability;
    cache_ = std::make_unique<Cache>(store_.get(), pool_.get(), &clock_, &allow_all_,
                                     cache_options);
  }
  /// As kill -9 leaves it.
  void Kill() {
    plan_->FailAt(0, EIO, /*for_ever=*/true);
    cache_.reset();
    store_.reset();
    plan_->Heal();
  }

  std::optional<TempDirectory> dir_;
  ManualClock clock_;
  AllowAll allow_all_;
  std::shared_ptr<FaultPlan> plan_ = std::make_shared<FaultPlan>();
  std::shared_ptr<FaultyRocksFiles> files_ = std::make_shared<FaultyRocksFiles>(plan_);
  std::unique_ptr<rocksdb::Env> env_ = rocksdb::NewCompositeEnv(files_);
  std::unique_ptr<BufferPool> pool_ = MakeHeapPool();
  std::unique_ptr<Store> store_;
  std::unique_ptr<Cache> cache_;
};

class FaultEnumerationTest : public FaultTest,
                             public ::testing::WithParamInterface<Case> {
 protected:
  /// All steps with operation `n` failing; how many operations there were.
  int64_t Run(uint32_t seed, int64_t n) {
    const Case& what = GetParam();
    dir_.emplace();
    Open(what.durability);
    Workload workload(seed, {.faults = true, .max_ttl_ms = 6000, .sizes = {10, 70'000}},
                      &clock_);
    const int64_t start = plan_->operations();
    plan_->FailAt(n, what.error, what.fault != Fault::kOnce);
    int broken_steps = 0;
    for (int step = 0; step < kSteps; ++step) {
      EXPECT_EQ(workload.Step(cache_.get()), "") << "step " << step;
      if (HasFailure()) break;
      if (plan_->operations() - start > n) ++broken_steps;
      if (what.fault == Fault::kPause && broken_steps == 10) plan_->Heal();
      if (what.fault == Fault::kCrash && broken_steps == 3) break;
    }
    const int64_t operations = plan_->operations() - start;
    if (what.fault != Fault::kCrash && !HasFailure()) {
      plan_->Heal();
      EXPECT_EQ(workload.CheckAll(cache_.get()), "") << "before the kill";
    }
    if (!HasFailure()) {
      Kill();
      Open(what.durability);
      workload.Reopened();
      EXPECT_EQ(workload.CheckAll(cache_.get()), "") << "after the kill";
      for (int step = 0; step < 20 && !HasFailure(); ++step) {
        EXPECT_EQ(workload.Step(cache_.get()), "") << "step " << step << " after";
      }
    }
    Kill();
    return operations;
  }
};

INSTANTIATE_TEST_SUITE_P(
    , FaultEnumerationTest,
    ::testing::Values(
        Case{"EioOnce", Fault::kOnce, EIO, Durability::kProcess},
        Case{"EioOnceSynced", Fault::kOnce, EIO, Durability::kDisk},
        Case{"DiskFullForAWhile", Fault::kPause, ENOSPC, Durability::kProcess},
        Case{"DiskFullForAWhileSynced", Fault::kPause, ENOSPC, Durability::kDisk},
        Case{"ReadOnlyForAWhile", Fault::kPause, EROFS, Durability::kProcess},
        Case{"CrashAt", Fault::kCrash, EIO, Durability::kProcess},
        Case{"CrashAtSynced", Fault::kCrash, EIO, Durability::kDisk}),
    [](const auto& info) { return info.param.name; });

TEST_P(FaultEnumerationTest, NothingIsLostWhateverOperationFails) {
  const uint32_t seed = TestSeed();
  SCOPED_TRACE("FLAME_SEED=" + std::to_string(seed));
  const int64_t operations = Run(seed, int64_t{1} << 40);
  ASSERT_FALSE(HasFailure()) << "already without a fault";
  ASSERT_GT(operations, kSteps);
  // A sample of a dozen in CI, all at night.
  const int64_t stride = Nightly() ? 1 : std::max<int64_t>(1, operations / 12);
  for (int64_t n = Nightly() ? 0 : seed % stride; n < operations; n += stride) {
    SCOPED_TRACE("operation " + std::to_string(n) + " of " + std::to_string(operations));
    Run(seed, n);
    if (HasFailure()) return;
  }
}

// A write whose log could not be synced fails with an unknown outcome, but its record is
// there when the log is replayed. Once its retry was told so, nobody may be shown the
// older version that was resident.
TEST_F(FaultTest, ACommitThatComesBackInARecoveryReplacesWhatWasResident) {
  dir_.emplace();
  Open(Durability::kDisk);
  const Key key = KeyFor("a/s/o");
  ASSERT_OK(cache_->Put({}, key, Bytes("old")).status());
  ASSERT_OK_AND_ASSIGN(const auto cursor, cache_->ReadFeed({}, "", "", 1, {}));
  RequestContext context;
  context.op_id = OpId{1, 1};
  plan_->FailAt(1, EIO, /*for_ever=*/false);  // Append, then sync.
  const auto failed = cache_->Put(context, key, Bytes("new"));
  ASSERT_FALSE(failed.ok());
  ASSERT_EQ(DetailOf(failed.status())->outcome, Outcome::kUnknown) << failed.status();

  context.retry = true;
  auto again = cache_->Put(context, key, Bytes("new"));
  ASSERT_TRUE(IsError(again.status(), ErrorCode::kUnavailable)) << again.status();
  again = cache_->Put(context, key, Bytes("new"));
  ASSERT_OK(again.status());
  EXPECT_EQ(again->version, 2);
  ASSERT_TRUE(again->replayed);
  ASSERT_OK_AND_ASSIGN(const auto got, cache_->Get({}, key, 0));
  EXPECT_EQ(std::get<std::shared_ptr<const Snapshot>>(got)->version, 2);
  ASSERT_OK_AND_ASSIGN(const auto page, cache_->ReadFeed({}, cursor.cursor, "", 1, {}));
  EXPECT_TRUE(page.gap) << "nobody told the watchers";
}

// A refusal tells of a version, a delete of nothing that there is none. Whoever was told
// so must not be shown an older one afterwards, so it is told when that is published.
// Method: a commit is held in its log while a second writer is refused because of it.
TEST_F(FaultTest, ARefusalTellsOfNothingThatReadersDoNotSeeYet) {
  dir_.emplace();
  Open(Durability::kProcess);
  const Key key = KeyFor("a/s/o");
  const auto version = [&] {
    const auto got = cache_->Get({}, key, 0);
    const auto* snapshot = std::get_if<std::shared_ptr<const Snapshot>>(&*got);
    return snapshot != nullptr ? (*snapshot)->version : 0;
  };
  /// Runs `second` while `first` is held in the log.
  const auto race = [&](const std::function<void()>& first,
                        const std::function<void()>& second) {
    std::promise<void> reached;
    std::promise<void> release;
    files_->before_log = [&, once = std::make_shared<std::once_flag>()] {
      std::call_once(*once, [&] {
        reached.set_value();
        release.get_future().wait();
      });
    };
    auto writer = std::async(std::launch::async, first);
    reached.get_future().wait();
    auto refused = std::async(std::launch::async, second);
    // Time to be answered too early; to be late changes nothing.
    refused.wait_for(std::chrono::milliseconds(100));
    release.set_value();
    writer.get();
    refused.get();
    files_->before_log = nullptr;
  };

  ASSERT_OK(cache_->Put({}, key, Bytes("1")).status());
  race([&] { EXPECT_OK(cache_->Put({}, key, Bytes("2")).status()); },
       [&] {
         WriteOptions options;
         options.if_version = 1;
         const auto conflict = cache_->Put({}, key, Bytes("x"), options);
         ASSERT_TRUE(IsError(conflict.status(), ErrorCode::kConflict));
         EXPECT_EQ(DetailOf(conflict.status())->version, version());
       });
  const Selection selection = *Selection::Parse(key.text());
  race([&] { EXPECT_EQ(*cache_->Delete({}, selection), 1); },
       [&] {
         const auto patched = cache_->Patch({}, key, Bytes("x"));
         ASSERT_TRUE(IsError(patched.status(), ErrorCode::kNotFound));
         EXPECT_EQ(version(), 0);
       });
  ASSERT_OK(cache_->Put({}, key, Bytes("3")).status());
  race([&] { EXPECT_EQ(*cache_->Delete({}, selection), 1); },
       [&] {
         EXPECT_EQ(*cache_->Delete({}, selection), 0);
         EXPECT_EQ(version(), 0);
       });
}

}  // namespace
}  // namespace flame
