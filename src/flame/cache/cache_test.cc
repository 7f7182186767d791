// The promises of Cache, run on every store.
#include "flame/cache/cache.h"

#include <random>
#include <thread>

#include "flame/cache/cache_testing.h"

namespace flame {
namespace {

TYPED_TEST_SUITE(CacheContractTest, Backends);

// --- Versions
// ---------------------------------------------------------------------------------------

TYPED_TEST(CacheContractTest, ANewKeyStartsAt1AndEveryWriteAddsOne) {
  EXPECT_EQ(*this->Put("a/s/o", "x"), 1);
  EXPECT_EQ(*this->Put("a/s/o", "y"), 2);
  EXPECT_EQ(*this->Patch("a/s/o", "z"), 3);
  EXPECT_EQ(*this->Put("a/s/o", "w"), 4);
  EXPECT_EQ(this->Get("a/s/o"), "v4 w");
}

TYPED_TEST(CacheContractTest, A3_VersionsGoOnAfterADelete) {
  ASSERT_EQ(*this->Put("a/s/o", "old"), 1);
  ASSERT_EQ(*this->Delete("a/s/o"), 1);
  EXPECT_EQ(this->Get("a/s/o"), "absent");
  EXPECT_EQ(*this->Put("a/s/o", "new"), 2);
  EXPECT_EQ(this->Get("a/s/o", 1), "v2 new");
  ASSERT_EQ(*this->Delete("a/*"), 1);
  EXPECT_EQ(*this->Put("a/s/o", "newer"), 3);
}

TYPED_TEST(CacheContractTest, A3_VersionsGoOnAfterARestart) {
  ASSERT_EQ(*this->Put("a/s/gone", "x"), 1);
  ASSERT_EQ(*this->Delete("a/s/gone"), 1);
  ASSERT_EQ(*this->Put("a/s/kept", "x"), 1);
  this->Reopen();
  EXPECT_EQ(*this->Put("a/s/gone", "y"), 2);
  EXPECT_EQ(*this->Put("a/s/kept", "y"), 2);
}

// Goal: folding tombstones away gives no version out twice. Method: keep none exactly;
// keys of one slot share a floor.
TYPED_TEST(CacheContractTest, A3_VersionsAreNotReusedAfterTombstonesAreFolded) {
  CacheOptions options;
  options.max_tombstones = 0;
  this->Reopen(options);
  for (int i = 0; i < 5; ++i) ASSERT_OK(this->Put("a/{t}/x", "x").status());
  ASSERT_EQ(*this->Delete("a/{t}/x"), 1);
  EXPECT_EQ(this->cache_->stats().tombstones, 0);
  EXPECT_GE(*this->Put("a/{t}/x", "x"), 6);
  EXPECT_GE(*this->Put("a/{t}/y", "never seen, same slot"), 6);
  this->Reopen(options);
  EXPECT_GE(*this->Put("a/{t}/z", "after a restart"), 6);
  // An id that was drawn at random can't have been seen: stock clients rely on 1.
  const auto generated =
      this->cache_->Put({}, this->K("a/{t}/5a1c"), Bytes("x"), {}, true);
  EXPECT_EQ(generated->version, 1);
}

TYPED_TEST(CacheContractTest, OldTombstonesAreFoldedAndYoungOnesKept) {
  ASSERT_OK(this->Put("a/{t}/old", "x").status());
  ASSERT_EQ(*this->Delete("a/{t}/old"), 1);
  this->clock_.Advance(std::chrono::milliseconds(1000));
  ASSERT_OK(this->Put("a/{t}/young", "x").status());
  ASSERT_OK(this->Put("a/{t}/young", "x").status());
  ASSERT_EQ(*this->Delete("a/{t}/young"), 1);
  ASSERT_OK(this->cache_->FoldOldTombstones(std::chrono::milliseconds(1000)));
  EXPECT_EQ(this->cache_->stats().tombstones, 1);
  EXPECT_EQ(*this->Put("a/{t}/young", "x"), 3);
  EXPECT_EQ(*this->Put("a/{t}/old", "x"), 2);
}

TYPED_TEST(CacheContractTest, ConditionalGetsSayWhatChanged) {
  ASSERT_OK(this->Put("a/s/o", "x").status());
  EXPECT_EQ(this->Get("a/s/o", 1), "v1 unchanged");
  ASSERT_OK(this->Patch("a/s/o", "p").status());
  EXPECT_EQ(this->Get("a/s/o", 1), "v2 x+p");
  EXPECT_EQ(this->Get("a/s/o", 2), "v2 unchanged");
  EXPECT_EQ(this->Get("a/s/o", 99), "v2 x+p");
  EXPECT_EQ(this->Get("a/s/none", 1), "absent");
}

TYPED_TEST(CacheContractTest, EverythingReadsTheSameAfterAReopen) {
  ASSERT_OK(this->Put("a/s/o", "base").status());
  ASSERT_OK(this->Patch("a/s/o", "p1").status());
  ASSERT_OK(this->Patch("a/s/o", "p2").status());
  this->Reopen();
  EXPECT_EQ(this->Get("a/s/o"), TypeParam::kDurable ? "v3 base+p1+p2" : "absent");
  if (!TypeParam::kDurable) return;
  EXPECT_EQ(*this->Patch("a/s/o", "p3"), 4);
  EXPECT_EQ(this->Get("a/s/o"), "v4 base+p1+p2+p3");
  EXPECT_EQ(*this->Put("a/s/o", "again"), 5);
  this->Reopen();
  EXPECT_EQ(this->Get("a/s/o"), "v5 again");
}

// --- Conditions
// ---------------------------------------------------------------------------------------

TYPED_TEST(CacheContractTest, IfVersionWritesOnlyOverThatVersion) {
  WriteOptions absent{.if_version = 0};
  EXPECT_EQ(*this->Put("a/s/o", "x", absent), 1);
  const auto again = this->Put("a/s/o", "y", absent);
  ASSERT_TRUE(IsError(again.status(), ErrorCode::kConflict));
  EXPECT_EQ(DetailOf(again.status())->version, 1);
  EXPECT_EQ(DetailOf(again.status())->outcome, Outcome::kNotApplied);
  EXPECT_EQ(*this->Put("a/s/o", "z", {.if_version = 1}), 2);
  EXPECT_TRUE(
      IsError(this->Delete("a/s/o", {.if_version = 1}).status(), ErrorCode::kConflict));
  EXPECT_EQ(*this->Delete("a/s/o", {.if_version = 2}), 1);
  // A deleted key is absent.
  EXPECT_TRUE(
      IsError(this->Put("a/s/o", "w", {.if_version = 2}).status(), ErrorCode::kConflict));
  EXPECT_EQ(*this->Put("a/s/o", "w", absent), 3);
}

TYPED_TEST(CacheContractTest, ARetryAppliesOnce) {
  const RequestContext first{.op_id = OpId{7, 1}};
  RequestContext retry = first;
  retry.retry = true;
  EXPECT_EQ(*this->Put("a/s/o", "x", {}, first), 1);
  EXPECT_EQ(*this->Put("a/s/o", "x", {}, retry), 1);
  EXPECT_EQ(this->Get("a/s/o"), "v1 x");
  const RequestContext second{.op_id = OpId{7, 2}};
  EXPECT_EQ(*this->Patch("a/s/o", "p", second), 2);
  EXPECT_EQ(*this->Patch("a/s/o", "p", second), 2);
  EXPECT_EQ(this->Get("a/s/o"), "v2 x+p");
  // Older than what this origin did last: nobody can tell any more.
  EXPECT_TRUE(
      IsError(this->Put("a/s/o", "x", {}, retry).status(), ErrorCode::kUnknownOutcome));
}

TYPED_TEST(CacheContractTest, ARetryIsRecognisedAfterDeleteAndRestart) {
  const RequestContext put{.op_id = OpId{7, 1}, .retry = true};
  ASSERT_EQ(*this->Put("a/s/o", "x", {}, put), 1);
  ASSERT_EQ(*this->Delete("a/s/o"), 1);
  EXPECT_EQ(*this->Put("a/s/o", "x", {}, put), 1);
  EXPECT_EQ(this->Get("a/s/o"), "absent");
  if (!TypeParam::kDurable) return;
  this->Reopen();
  EXPECT_EQ(*this->Put("a/s/o", "x", {}, put), 1);
  EXPECT_EQ(this->Get("a/s/o"), "absent");
}

TYPED_TEST(CacheContractTest, ARetryByAForgottenOriginIsUndecidableNotApplied) {
  for (uint64_t origin = 1; origin <= OpHistory::kOrigins + 1; ++origin) {
    ASSERT_OK(this->Put("a/s/o", "x", {}, {.op_id = OpId{origin, 1}}).status());
  }
  const auto retry = this->Put("a/s/o", "x", {}, {.op_id = OpId{1, 1}, .retry = true});
  EXPECT_TRUE(IsError(retry.status(), ErrorCode::kUnknownOutcome));
  EXPECT_EQ(DetailOf(retry.status())->outcome, Outcome::kUnknown);
}

TYPED_TEST(CacheContractTest, TransactAppliesAllOrNothing) {
  using Op = Cache::Op;
  ASSERT_OK(this->Put("a/s/x", "x1").status());
  const auto done =
      this->cache_->Transact({}, {{this->K("a/s/x"), 1}, {this->K("a/s/new"), 0}},
                             {{Op::Type::kPut, this->K("a/s/y"), Bytes("y1")},
                              {Op::Type::kPatch, this->K("a/s/x"), Bytes("p")},
                              {Op::Type::kPatch, this->K("a/s/y"), Bytes("q")},
                              {Op::Type::kDelete, this->K("a/s/none"), nullptr}});
  ASSERT_OK(done.status());
  EXPECT_EQ((*done)[2].version, 2);
  EXPECT_EQ((*done)[3].version, 0);
  EXPECT_EQ(this->Get("a/s/x"), "v2 x1+p");
  EXPECT_EQ(this->Get("a/s/y"), "v2 y1+q");

  const auto refused =
      this->cache_->Transact({}, {{this->K("a/s/x"), 1}},
                             {{Op::Type::kPut, this->K("a/s/y"), Bytes("no")},
                              {Op::Type::kPut, this->K("b/s/z"), Bytes("no")}});
  EXPECT_TRUE(IsError(refused.status(), ErrorCode::kConflict));
  const auto half =
      this->cache_->Transact({}, {},
                             {{Op::Type::kPut, this->K("a/s/y"), Bytes("no")},
                              {Op::Type::kPatch, this->K("b/s/z"), Bytes("no")}});
  EXPECT_TRUE(IsError(half.status(), ErrorCode::kNotFound));
  EXPECT_EQ(this->Get("a/s/y"), "v2 y1+q");
  EXPECT_EQ(*this->Put("a/s/y", "y3"), 3);
}

TYPED_TEST(CacheContractTest, MutateDecidesOnWhatIsThere) {
  auto append = [](const Snapshot* now) -> arrow::Result<std::shared_ptr<const Payload>> {
    const std::string text = now ? (*Contiguous(*now->base))->ToString() : "";
    return text.size() >= 2 ? nullptr : Bytes(text + "x");
  };
  EXPECT_EQ((*this->cache_->Mutate({}, this->K("a/s/o"), append))->version, 1);
  EXPECT_EQ((*this->cache_->Mutate({}, this->K("a/s/o"), append))->version, 2);
  EXPECT_FALSE((*this->cache_->Mutate({}, this->K("a/s/o"), append)).has_value());
  EXPECT_EQ(this->Get("a/s/o"), "v2 xx");
}

// --- Patches
// ---------------------------------------------------------------------------------------

TYPED_TEST(CacheContractTest, PatchingNeedsAnObjectOfTheSameKind) {
  EXPECT_TRUE(IsError(this->Patch("a/s/none", "p").status(), ErrorCode::kNotFound));
  ASSERT_OK(this->cache_->Put({}, this->K("a/s/t"), Table({1, 2})).status());
  // A11: an opaque patch on a table was acknowledged and lost.
  EXPECT_TRUE(IsError(this->Patch("a/s/t", "p").status(), ErrorCode::kWrongKind));
  ASSERT_OK(this->Put("a/s/o", "x").status());
  EXPECT_TRUE(IsError(this->cache_->Patch({}, this->K("a/s/o"), Table({3})).status(),
                      ErrorCode::kWrongKind));
  EXPECT_TRUE(
      IsError(this->cache_->Patch({}, this->K("a/s/t"), Table({3}, "other")).status(),
              ErrorCode::kWrongKind));
  EXPECT_EQ((*this->cache_->Stat({}, this->K("a/s/t")))->version, 1);
}

TYPED_TEST(CacheContractTest, AppendedBatchesFollowTheTable) {
  ASSERT_OK(this->cache_->Put({}, this->K("a/s/t"), Table({1, 2})).status());
  ASSERT_OK(this->cache_->Patch({}, this->K("a/s/t"), Table({3})).status());
  this->cache_->Patch({}, this->K("a/s/t"), Table({4, 5})).ValueOrDie();
  if (TypeParam::kDurable) this->Reopen();
  const auto got = *this->cache_->Get({}, this->K("a/s/t"), 0);
  const auto snapshot = std::get<std::shared_ptr<const Snapshot>>(got);
  EXPECT_EQ(snapshot->version, 3);
  EXPECT_EQ(snapshot->base_version, 1);
  ASSERT_EQ(snapshot->PatchesAfter(1).size(), 2u);
  ASSERT_OK_AND_ASSIGN(const auto batches,
                       DecodeNative(snapshot->base->schema(),
                                    snapshot->last_patch->payload->frames(), true));
  EXPECT_EQ(batches[0]->num_rows(), 2);
}

TYPED_TEST(CacheContractTest, C11_AThousandPatchesAreTheMost) {
  CacheOptions options;
  options.max_patches = 3;
  this->Reopen(options);
  ASSERT_OK(this->Put("a/s/o", "x").status());
  for (int i = 0; i < 3; ++i) ASSERT_OK(this->Patch("a/s/o", "p").status());
  EXPECT_TRUE(IsError(this->Patch("a/s/o", "p").status(), ErrorCode::kTooManyPatches));
  EXPECT_EQ(*this->Put("a/s/o", "y"), 5);
  EXPECT_OK(this->Patch("a/s/o", "p").status());
}

TYPED_TEST(CacheContractTest, AnObjectGrowsToTheMostThatItMayHave) {
  CacheOptions options;
  options.max_object_bytes = 10;
  this->Reopen(options);
  EXPECT_TRUE(IsError(this->Put("a/s/o", "eleven byte").status(), ErrorCode::kTooLarge));
  ASSERT_OK(this->Put("a/s/o", "12345678").status());
  EXPECT_TRUE(IsError(this->Patch("a/s/o", "abc").status(), ErrorCode::kTooLarge));
  EXPECT_EQ(this->Get("a/s/o"), "v1 12345678");
  ASSERT_OK(this->Patch("a/s/o", "ab").status());
  EXPECT_TRUE(IsError(this->Patch("a/s/o", "c").status(), ErrorCode::kTooLarge));
  EXPECT_EQ(*this->Put("a/s/o", "1"), 3);
}

// --- Deleting and listing
// ---------------------------------------------------------------------------------------

TYPED_TEST(CacheContractTest, APrefixDeleteTakesItsSessionsAndNoOther) {
  for (const char* key : {"pb/s1/a", "pb/s1/b", "pb/s11/c", "pb/s2/d", "pbx/s1/e"}) {
    ASSERT_OK(this->Put(key, "x").status());
  }
  EXPECT_EQ(*this->Delete("pb/s1"), 2);
  EXPECT_EQ(*this->Delete("pb/s1"), 0);
  EXPECT_THAT(this->List(""), ::testing::ElementsAre("pb/s11/c", "pb/s2/d", "pbx/s1/e"));
  EXPECT_EQ(*this->Delete("pb/*"), 2);
  EXPECT_THAT(this->List(""), ::testing::ElementsAre("pbx/s1/e"));
}

TYPED_TEST(CacheContractTest, DeletesOfManyPagesAreComplete) {
  for (int i = 0; i < 1234; ++i)
    ASSERT_OK(this->Put("a/s/" + std::to_string(i), "x").status());
  ASSERT_OK(this->Put("b/s/o", "x").status());
  EXPECT_EQ(*this->Delete("a/*"), 1234);
  EXPECT_THAT(this->List(""), ::testing::ElementsAre("b/s/o"));
}

TYPED_TEST(CacheContractTest, ListsPageInKeyOrder) {
  for (int i = 9; i >= 0; --i)
    ASSERT_OK(this->Put("a/s/" + std::to_string(i), "xy").status());
  std::string after;
  std::vector<std::string> keys;
  while (true) {
    ASSERT_OK_AND_ASSIGN(const auto page, this->cache_->List({}, "a/", after, 3));
    if (page.empty()) break;
    for (const auto& stat : page) {
      keys.push_back(stat.key.text());
      EXPECT_EQ(stat.bytes, 2);
    }
    after = page.back().key.text();
  }
  EXPECT_EQ(keys.size(), 10u);
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
}

TYPED_TEST(CacheContractTest, PlainKeysAreInNoListAndSurvivePrefixDeletes) {
  ASSERT_OK(this->cache_->Put({}, Key::Plain("a/s"), Bytes("plain")).status());
  ASSERT_OK(this->cache_->Put({}, Key::Plain("a/s/o/too/many"), Bytes("plain")).status());
  ASSERT_OK(this->Put("a/s/o", "x").status());
  EXPECT_THAT(this->List(""), ::testing::ElementsAre("a/s/o"));
  EXPECT_EQ(*this->Delete("a/*"), 1);
  const auto got = *this->cache_->Get({}, Key::Plain("a/s/o/too/many"), 0);
  EXPECT_TRUE(std::holds_alternative<std::shared_ptr<const Snapshot>>(got));
}

TYPED_TEST(CacheContractTest, ExpiredObjectsAreAbsentAndTheirVersionsGoOn) {
  ASSERT_EQ(*this->Put("a/s/o", "x", {.ttl_ms = 1000}), 1);
  EXPECT_EQ(this->Get("a/s/o"), "v1 x");
  this->clock_.Advance(std::chrono::milliseconds(1000));
  EXPECT_EQ(this->Get("a/s/o"), "absent");
  EXPECT_TRUE(this->List("").empty());
  EXPECT_FALSE((*this->cache_->Stat({}, this->K("a/s/o"))).has_value());
  EXPECT_EQ(*this->Put("a/s/o", "y", {.if_version = 0}), 2);
}

// --- Memory and readers
// ---------------------------------------------------------------------------------------

TYPED_TEST(CacheContractTest, AReadersSnapshotOutlivesPutsAndDeletes) {
  ASSERT_OK(this->Put("a/s/o", "old").status());
  const auto got = *this->cache_->Get({}, this->K("a/s/o"), 0);
  const auto snapshot = std::get<std::shared_ptr<const Snapshot>>(got);
  ASSERT_OK(this->Put("a/s/o", "new").status());
  ASSERT_OK(this->Delete("a/s/o").status());
  EXPECT_EQ((*Contiguous(*snapshot->base))->ToString(), "old");
}

TYPED_TEST(CacheContractTest, E1_ReadersShareTheBytes) {
  const std::string large(100'000, 'x');
  ASSERT_OK(this->Put("a/s/o", large).status());
  const auto first = std::get<std::shared_ptr<const Snapshot>>(
      *this->cache_->Get({}, this->K("a/s/o"), 0));
  const auto second = std::get<std::shared_ptr<const Snapshot>>(
      *this->cache_->Get({}, this->K("a/s/o"), 0));
  EXPECT_EQ(first->base->chunks()[0]->data(), second->base->chunks()[0]->data());
  EXPECT_EQ(this->pool_->Allocated(), 0) << "a large payload was copied";
}

TYPED_TEST(CacheContractTest, B4_MissesAndDeletedKeysLeaveNothingInMemory) {
  for (int i = 0; i < 100; ++i) {
    const std::string key = "a/s/" + std::to_string(i);
    EXPECT_EQ(this->Get(key), "absent");
    ASSERT_OK(this->Put(key, "x").status());
    ASSERT_OK(this->Delete(key).status());
    EXPECT_EQ(this->Get(key), "absent");
  }
  EXPECT_EQ(this->cache_->stats().resident_objects, 0);
}

TYPED_TEST(CacheContractTest, TheFeedTellsEveryCommitInOrder) {
  ASSERT_OK_AND_ASSIGN(auto page, this->cache_->ReadFeed({}, "", "", 100, {}));
  ASSERT_OK(this->Put("a/s/o", "x").status());
  ASSERT_OK(this->Patch("a/s/o", "p").status());
  ASSERT_OK(this->Delete("a/s/o").status());
  ASSERT_OK_AND_ASSIGN(page, this->cache_->ReadFeed({}, page.cursor, "", 100, {}));
  ASSERT_EQ(page.events.size(), 3u);
  EXPECT_EQ(page.events[0].type, CommitEvent::Type::kPut);
  EXPECT_EQ(page.events[1].type, CommitEvent::Type::kPatch);
  EXPECT_EQ(page.events[2].type, CommitEvent::Type::kDelete);
  EXPECT_EQ(page.events[1].seq, page.events[0].seq + 1) << "seq is dense per slot";
}

TYPED_TEST(CacheContractTest, AfterCloseCallsAreUnavailable) {
  ASSERT_OK(this->cache_->Close());
  EXPECT_TRUE(IsError(this->Put("a/s/o", "x").status(), ErrorCode::kUnavailable));
  EXPECT_TRUE(IsError(this->cache_->Get({}, this->K("a/s/o"), 0).status(),
                      ErrorCode::kUnavailable));
}

// Goal: one authorisation point for every call. Method: deny everything.
TYPED_TEST(CacheContractTest, EveryCallAsksForPermission) {
  class DenyAll final : public Authorizer {
    arrow::Status Authorize(const std::string&, Operation,
                            std::string_view) const override {
      return MakeError(ErrorCode::kDenied, "no");
    }
  } deny;
  Cache cache(this->store_.get(), this->pool_.get(), &this->clock_, &deny, {});
  const Key key = this->K("a/s/o");
  EXPECT_TRUE(IsError(cache.Put({}, key, Bytes("x")).status(), ErrorCode::kDenied));
  EXPECT_TRUE(IsError(cache.Patch({}, key, Bytes("x")).status(), ErrorCode::kDenied));
  EXPECT_TRUE(IsError(cache.Get({}, key, 0).status(), ErrorCode::kDenied));
  EXPECT_TRUE(IsError(cache.Stat({}, key).status(), ErrorCode::kDenied));
  EXPECT_TRUE(IsError(cache.List({}, "", "", 1).status(), ErrorCode::kDenied));
  EXPECT_TRUE(
      IsError(cache.Delete({}, *Selection::Parse("a/s")).status(), ErrorCode::kDenied));
  EXPECT_TRUE(
      IsError(cache.Delete({}, *Selection::Parse("a/s/o")).status(), ErrorCode::kDenied));
  EXPECT_TRUE(IsError(cache.ReadFeed({}, "", "", 1, {}).status(), ErrorCode::kDenied));
}

// Goal: per key, versions are handed out once and readers never go back in time (P1, P4).
// Method: writers, patchers and deleters race on few keys; each reader's versions must
// not fall, and a version must always mean the same bytes.
TYPED_TEST(CacheContractTest, B1_ConcurrentWritersAndReadersKeepOrder) {
  constexpr int kWriters = 4;
  constexpr int kWrites = 150;
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mutex mutex;
  std::map<std::string, std::map<Version, std::string>> written;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      std::mt19937 random(seed + writer);
      for (int i = 0; i < kWrites; ++i) {
        const std::string key = "a/s/" + std::to_string(random() % 3);
        const std::string bytes = std::to_string(writer) + ":" + std::to_string(i);
        const int what = static_cast<int>(random() % 4);
        if (what == 0) {
          EXPECT_OK(this->Delete(key).status());
          continue;
        }
        const auto version = what == 1 ? this->Patch(key, bytes) : this->Put(key, bytes);
        if (!version.ok()) {
          EXPECT_TRUE(IsError(version.status(), ErrorCode::kNotFound))
              << version.status();
          continue;
        }
        std::lock_guard lock(mutex);
        EXPECT_TRUE(written[key].emplace(*version, bytes).second)
            << key << " v" << *version << " twice";
      }
    });
  }
  for (int reader = 0; reader < 2; ++reader) {
    threads.emplace_back([&] {
      std::map<std::string, Version> newest;
      while (!stop) {
        for (const char* key : {"a/s/0", "a/s/1", "a/s/2"}) {
          const auto got = this->cache_->Get({}, this->K(key), 0);
          ASSERT_OK(got.status());
          const auto* snapshot = std::get_if<std::shared_ptr<const Snapshot>>(&*got);
          if (snapshot == nullptr) continue;
          EXPECT_GE((*snapshot)->version, newest[key]);
          newest[key] = (*snapshot)->version;
          EXPECT_EQ((*snapshot)->version - (*snapshot)->base_version,
                    (*snapshot)->patch_count);
          EXPECT_EQ(std::ssize((*snapshot)->PatchesAfter(0)), (*snapshot)->patch_count);
          const auto stat = this->cache_->Stat({}, this->K(key));
          ASSERT_OK(stat.status());
          if (*stat) {
            EXPECT_GE((**stat).version, newest[key]);
            newest[key] = (**stat).version;
          }
        }
      }
    });
  }
  for (int writer = 0; writer < kWriters; ++writer) threads[writer].join();
  stop = true;
  for (size_t i = kWriters; i < threads.size(); ++i) threads[i].join();

  if (TypeParam::kDurable) this->Reopen();
  for (const auto& [key, versions] : written) {
    const std::string got = this->Get(key);
    if (got == "absent") continue;
    const auto& [version, bytes] = *versions.rbegin();
    EXPECT_TRUE(got.starts_with("v" + std::to_string(version) + " ")) << got;
    EXPECT_TRUE(got.ends_with(bytes)) << got;
  }
}

}  // namespace
}  // namespace flame
