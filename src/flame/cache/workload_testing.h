// Workload: a random client of a Cache that believes nothing and checks every answer
// against a KeyOracle per key. For tests. The same seed makes the same steps.
#pragma once

#include <cstdlib>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "flame/base/error.h"
#include "flame/cache/cache.h"
#include "flame/cache/oracle_testing.h"
#include "flame/storage/store_testing.h"

namespace flame {

/// FLAME_SEED, or a seed of today's.
inline uint32_t TestSeed() {
  const char* seed = std::getenv("FLAME_SEED");
  return seed ? static_cast<uint32_t>(std::stoul(seed)) : std::random_device{}();
}

inline bool Nightly() {
  const char* nightly = std::getenv("FLAME_NIGHTLY");
  return nightly != nullptr && std::string(nightly) == "1";
}

class Workload {
 public:
  struct Options {
    bool faults = false;     // The disk may fail: errors that tell an outcome are fine.
    int64_t max_ttl_ms = 0;  // A third of the writes set one; 0 = none.
    bool persistent = true;  // What leaves memory is still in the storage.
    // Of what may be resident.
    int64_t max_bytes = std::numeric_limits<int64_t>::max();
    int64_t max_objects = std::numeric_limits<int64_t>::max();
    bool folding = false;  // Fold tombstones now and then.
    std::vector<size_t> sizes = {1, 10, 1000, 17'000, 70'000};  // Around every threshold.
  };

  Workload(uint32_t seed, Options options, ManualClock* clock)
      : random_(seed), options_(std::move(options)), clock_(clock) {
    for (const char* key : {"m/a/0", "m/a/1", "m/a/2", "m/a/3", "m/b/{t}0", "m/b/{t}1",
                            "n/b/{t}0", "n/c/0"}) {
      KeyOracle& oracle = oracles_[key];
      if (options_.folding) oracle.MayJump();
    }
  }

  /// One operation. "" or what was wrong with an answer.
  std::string Step(Cache* cache) {
    cache_ = cache;
    if (cursor_.empty()) TakeEvictions();  // From now on.
    const std::string& key = PickKey();
    std::string problem;
    switch (Pick({30, 20, 20, 6, 3, 6, 4, 6, 2, 1})) {
      case 0:
        problem = Write(WriteAttempt::Type::kPut, key);
        break;
      case 1:
        problem = Write(WriteAttempt::Type::kPatch, key);
        break;
      case 2:
        problem = Get(key);
        break;
      case 3:
        problem = Write(WriteAttempt::Type::kDelete, key);
        break;
      case 4:
        problem = DeletePrefix();
        break;
      case 5:
        problem = Stat(key);
        break;
      case 6:
        problem = List();
        break;
      case 7:
        clock_->Advance(std::chrono::milliseconds(1 + random_() % 1500));
        break;
      case 8:
        problem = Reap();
        break;
      case 9:
        problem = Fold();
        break;
    }
    if (problem.empty()) problem = TakeEvictions();
    if (problem.empty()) problem = CheckLimits();
    if (problem.empty()) return "";
    return fmt::format("{}: {}", key, problem);
  }

  /// Everything as it must be now.
  std::string CheckAll(Cache* cache) {
    cache_ = cache;
    for (auto& [key, oracle] : oracles_) {
      std::string problem = Read(key, 0);
      if (problem.empty()) problem = Stat(key);
      if (!problem.empty()) return fmt::format("{}: {}", key, problem);
    }
    return List();
  }

  std::map<std::string, KeyOracle>& oracles() { return oracles_; }
  /// Objects are gone with the process; their versions are not used again.
  void EverythingIsLost() {
    for (auto& [key, oracle] : oracles_) {
      oracle.Deleted();
      oracle.MayJump();
    }
    cursor_.clear();
  }
  void Reopened() {
    cursor_.clear();
    Settle();
  }
  int64_t failures() const { return failures_; }

 private:
  void Settle() {
    for (auto& [key, oracle] : oracles_) oracle.Settle();
  }
  int64_t now() const { return clock_->WallMs(); }
  size_t Pick(std::initializer_list<double> weights) {
    return std::discrete_distribution<size_t>(weights)(random_);
  }
  const std::string& PickKey() {
    return std::next(oracles_.begin(), static_cast<int64_t>(random_() % oracles_.size()))
        ->first;
  }
  static Key K(const std::string& text) { return KeyFor(text); }

  /// Bytes that no other write of this run has.
  std::string Content() {
    const std::string label = fmt::format("<{}>", ++writes_);
    const size_t size =
        std::max(label.size(), options_.sizes[random_() % options_.sizes.size()]);
    std::string bytes;
    while (bytes.size() + label.size() <= size) bytes += label;
    return bytes.append(size - bytes.size(), '.');
  }

  arrow::Result<WriteResult> Send(const WriteAttempt& write, const std::string& key,
                                  const RequestContext& context) {
    const WriteOptions options{write.if_version, write.ttl_ms, {}};
    if (write.type == WriteAttempt::Type::kPatch) {
      return cache_->Patch(context, K(key), Bytes(write.bytes), options);
    }
    if (write.type == WriteAttempt::Type::kPut) {
      return cache_->Put(context, K(key), Bytes(write.bytes), options);
    }
    ARROW_ASSIGN_OR_RAISE(
        const auto results,
        cache_->Transact(context, {},
                         {{Cache::Op::Type::kDelete, K(key), nullptr, options, false}}));
    return results[0];
  }

  std::string Write(WriteAttempt::Type type, const std::string& key) {
    KeyOracle& oracle = oracles_[key];
    WriteAttempt write{type, "", 0, {}};
    if (type != WriteAttempt::Type::kDelete) write.bytes = Content();
    if (type == WriteAttempt::Type::kPut && options_.max_ttl_ms > 0 &&
        random_() % 3 == 0) {
      write.ttl_ms = 1 + static_cast<int64_t>(random_()) % options_.max_ttl_ms;
    }
    if (random_() % 4 == 0) {
      const KeyState& state = oracle.possible()[random_() % oracle.possible().size()];
      const Version guesses[] = {state.LiveAt(now()) ? state.version : 0, state.version,
                                 0, state.version + 1};
      write.if_version = guesses[random_() % std::size(guesses)];
    }
    RequestContext context;
    if (random_() % 3 == 0) context.op_id = OpId{1 + random_() % 3, ++counter_};
    const auto result = Send(write, key, context);
    if (result.ok()) {
      if (result->replayed) return "a first attempt was taken for a retry";
      // The store takes writes again only when it has recovered. (A delete of nothing is
      // no write.)
      if (result->version != 0) Settle();
      std::string problem = oracle.Applied(write, result->version, now());
      if (!problem.empty() || !context.op_id || result->version == 0) return problem;
      return SendAgain(write, key, context, result->version);
    }
    return Refused(write, key, context, result.status());
  }

  /// The answer was lost on its way, so the client asks again.
  std::string SendAgain(const WriteAttempt& write, const std::string& key,
                        RequestContext context, Version given) {
    context.retry = true;
    const auto result = Send(write, key, context);
    if (!result.ok()) {
      if (options_.faults) return "";
      return "retry of an applied write: " + result.status().ToString();
    }
    if (result->replayed && result->version == given) return "";
    return fmt::format("applied twice: v{}, and its retry v{}", given, result->version);
  }

  std::string Refused(const WriteAttempt& write, const std::string& key,
                      RequestContext context, const arrow::Status& status) {
    KeyOracle& oracle = oracles_[key];
    const ErrorDetail* detail = DetailOf(status);
    if (detail == nullptr || !detail->outcome) {
      return "a failed write must tell its outcome: " + status.ToString();
    }
    if (IsError(status, ErrorCode::kConflict)) {
      return oracle.Conflicted(write, detail->version.value_or(-1), now());
    }
    if (IsError(status, ErrorCode::kNotFound)) return oracle.Absent("patch", now());
    if (IsError(status, ErrorCode::kTooLarge) && !options_.persistent) {
      return NeverFits(write, oracle) ? "" : "it fits: " + status.ToString();
    }
    if (!options_.faults) return status.ToString();
    ++failures_;
    oracle.Note(status.ToString());
    if (*detail->outcome == Outcome::kNotApplied) return "";
    oracle.Unknown(write, now());
    if (!context.op_id || write.type == WriteAttempt::Type::kDelete) return "";
    // The store recovers and says so; then the retry is decided.
    context.retry = true;
    auto again = Send(write, key, context);
    if (!again.ok()) again = Send(write, key, context);
    if (!again.ok()) return "";
    Settle();
    return oracle.Retried(write, again->version, again->replayed, now());
  }

  /// Without a storage: more than memory may hold, or so near to it that what is held
  /// about the object decides.
  bool NeverFits(const WriteAttempt& write, const KeyOracle& oracle) const {
    constexpr int64_t kAbout = 20'000;
    return std::any_of(oracle.possible().begin(), oracle.possible().end(),
                       [&](const KeyState& state) {
                         int64_t bytes = std::ssize(write.bytes);
                         if (write.type == WriteAttempt::Type::kPatch) {
                           for (const auto& row : state.rows)
                             bytes += std::ssize(row.second);
                         }
                         return bytes > options_.max_bytes - kAbout;
                       });
  }

  std::string Get(const std::string& key) {
    const auto& possible = oracles_[key].possible();
    const Version newest = possible[random_() % possible.size()].version;
    const Version known[] = {0, newest, newest - 1, 99};
    return Read(key, std::max<Version>(0, known[random_() % std::size(known)]));
  }

  std::string Read(const std::string& key, Version known) {
    KeyOracle& oracle = oracles_[key];
    const auto got = cache_->Get({}, K(key), known);
    if (!got.ok()) return "get: " + got.status().ToString();
    if (std::holds_alternative<Absent>(*got)) return oracle.Absent("get", now());
    if (const auto* same = std::get_if<NotModified>(&*got)) {
      if (same->version != known) return "not modified, but it is not what was asked for";
      for (const KeyState& state : oracle.possible()) {
        if (state.LiveAt(now()) && state.version == known) return "";
      }
      return fmt::format("v{} is said to be the newest", known);
    }
    const auto& snapshot = std::get<std::shared_ptr<const Snapshot>>(*got);
    if (known != 0 && snapshot->version == known) return "sent again what was known";
    Observation seen{snapshot->version,
                     {{snapshot->base_version, TextOf(*snapshot->base)}}};
    for (const auto* patch : snapshot->PatchesAfter(0)) {
      seen.rows.emplace_back(patch->version, TextOf(*patch->payload));
    }
    return oracle.Saw(seen, now());
  }

  std::string Stat(const std::string& key) {
    KeyOracle& oracle = oracles_[key];
    const auto stat = cache_->Stat({}, K(key));
    if (!stat.ok()) return "stat: " + stat.status().ToString();
    if (!*stat) return oracle.Absent("stat", now());
    for (const KeyState& state : oracle.possible()) {
      int64_t bytes = 0;
      for (const auto& row : state.rows) bytes += std::ssize(row.second);
      if (state.LiveAt(now()) && state.version == (*stat)->version &&
          bytes == (*stat)->bytes && state.rows[0].first == (*stat)->base_version &&
          std::ssize(state.rows) == (*stat)->patch_count + 1 &&
          state.expires_at_ms == (*stat)->expires_at_ms) {
        return "";
      }
    }
    return fmt::format("stat says v{}, {} bytes, expires {}; {}", (*stat)->version,
                       (*stat)->bytes, (*stat)->expires_at_ms,
                       Describe(oracle.possible()[0].version, oracle.possible()[0].rows));
  }

  std::string List() {
    static constexpr const char* kPrefixes[] = {"", "m/", "m/a/", "m/b/", "n/", "x/"};
    const std::string prefix = kPrefixes[random_() % std::size(kPrefixes)];
    std::set<std::string> listed;
    std::string after;
    while (true) {
      const auto page = cache_->List({}, prefix, after, 3);
      if (!page.ok()) return "list: " + page.status().ToString();
      if (page->empty()) break;
      for (const ObjectStat& stat : *page) {
        if (stat.key.text() <= after) return "list goes back to " + stat.key.text();
        after = stat.key.text();
        listed.insert(after);
      }
    }
    for (auto& [key, oracle] : oracles_) {
      const bool must = key.starts_with(prefix) &&
                        std::all_of(oracle.possible().begin(), oracle.possible().end(),
                                    [&](const KeyState& s) { return s.LiveAt(now()); });
      const bool may = key.starts_with(prefix) &&
                       std::any_of(oracle.possible().begin(), oracle.possible().end(),
                                   [&](const KeyState& s) { return s.LiveAt(now()); });
      if (must && !listed.contains(key)) return "'" + prefix + "' does not list " + key;
      if (!may && listed.contains(key)) return "'" + prefix + "' lists " + key;
    }
    return "";
  }

  std::string DeletePrefix() {
    static constexpr const char* kPrefixes[] = {"m/a", "m/b", "m/*", "n/c", "x/y"};
    const auto selection = Selection::Parse(kPrefixes[random_() % std::size(kPrefixes)]);
    if (!selection.ok()) return selection.status().ToString();
    int64_t least = 0;
    int64_t most = 0;
    for (auto& [key, oracle] : oracles_) {
      if (!key.starts_with(selection->prefix)) continue;
      const auto live = std::count_if(oracle.possible().begin(), oracle.possible().end(),
                                      [&](const KeyState& s) { return s.LiveAt(now()); });
      least += live == std::ssize(oracle.possible()) ? 1 : 0;
      most += live > 0 ? 1 : 0;
    }
    const auto deleted = cache_->Delete({}, *selection);
    if (!deleted.ok() && !options_.faults) return deleted.status().ToString();
    if (deleted.ok() && *deleted > 0) Settle();
    for (auto& [key, oracle] : oracles_) {
      if (!key.starts_with(selection->prefix)) continue;
      if (deleted.ok()) {
        oracle.Deleted();
      } else {
        oracle.Unknown({WriteAttempt::Type::kDelete, "", 0, {}}, now());
      }
    }
    if (deleted.ok() && (*deleted < least || *deleted > most)) {
      return fmt::format("deleted {} below {}, there were {} to {}", *deleted,
                         selection->prefix, least, most);
    }
    return "";
  }

  std::string Reap() {
    const auto reaped = cache_->ReapExpired();
    return reaped.ok() || options_.faults ? "" : reaped.status().ToString();
  }

  std::string Fold() {
    if (!options_.folding) return "";
    const arrow::Status status =
        cache_->FoldOldTombstones(std::chrono::milliseconds(500));
    return status.ok() || options_.faults ? "" : status.ToString();
  }

  /// What a cache without storage has let go of: the feed tells.
  std::string TakeEvictions() {
    while (true) {
      const auto page = cache_->ReadFeed({}, cursor_, "", 100, {});
      if (!page.ok()) return page.status().ToString();
      const bool first = cursor_.empty();
      cursor_ = page->cursor;
      for (const CommitEvent& event : page->events) {
        if (event.type != CommitEvent::Type::kEvict) continue;
        if (options_.persistent) return "evicted, though the storage holds it";
        oracles_[event.key.text()].Deleted();
      }
      if (first || page->events.empty()) return "";
    }
  }
  /// One client that holds nothing: the limits are exact.
  std::string CheckLimits() {
    const Cache::Stats stats = cache_->stats();
    if (stats.resident_bytes > options_.max_bytes ||
        stats.resident_objects > options_.max_objects) {
      return fmt::format("{} bytes of {} objects are resident", stats.resident_bytes,
                         stats.resident_objects);
    }
    return "";
  }

  std::mt19937 random_;
  const Options options_;
  ManualClock* const clock_;
  Cache* cache_ = nullptr;
  std::map<std::string, KeyOracle> oracles_;
  int64_t writes_ = 0;
  uint64_t counter_ = 0;
  std::string cursor_;  // In the feed.
  int64_t failures_ = 0;
};

}  // namespace flame
