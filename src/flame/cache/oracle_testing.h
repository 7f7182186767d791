// KeyOracle: what one key can be, given everything that its clients were told. For tests.
//
// Nearly always that is one state. A write whose outcome is unknown adds others: it may
// be applied, and become visible at any moment until the store has recovered (Settle). An
// answer that fits no state is a defect, and is described in words.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "flame/object/snapshot.h"

namespace flame {

struct KeyState {
  Version version = 0;  // The last one that was given out; 0 = none yet.
  bool put = false;     // Put and not deleted; it may have expired.
  int64_t expires_at_ms = 0;
  std::vector<std::pair<Version, std::string>> rows;  // Base and patches.
  size_t passed = 0;  // So many unknown writes can't take effect any more.

  bool LiveAt(int64_t now_ms) const {
    return put && (expires_at_ms == 0 || expires_at_ms > now_ms);
  }
  bool operator==(const KeyState&) const = default;
};

/// A write as it was asked for.
struct WriteAttempt {
  enum class Type { kPut, kPatch, kDelete };
  Type type = Type::kPut;
  std::string bytes;
  int64_t ttl_ms = 0;
  std::optional<Version> if_version;
};

/// What a read answered. No rows: absent.
struct Observation {
  Version version = 0;
  std::vector<std::pair<Version, std::string>> rows;
};

/// "v3 1:aaa(70000) 3:bb(2)".
inline std::string Describe(Version version,
                            const std::vector<std::pair<Version, std::string>>& rows) {
  if (rows.empty()) return "nothing";
  std::string text = fmt::format("v{}", version);
  for (const auto& [at, bytes] : rows) {
    text += fmt::format(" {}:{}({})", at, bytes.substr(0, 12), bytes.size());
  }
  return text;
}

class KeyOracle {
 public:
  /// The states that fit all answers so far. Never empty.
  const std::vector<KeyState>& possible() const { return possible_; }
  /// From now on a key that is absent may go on above its next number: tombstones were
  /// folded, or what held them is gone.
  void MayJump() { may_jump_ = true; }

  // Each takes an answer that was given at `now_ms`. "" or what is wrong.

  /// `given`: the version that the write got; of a delete, 0 if there was nothing.
  std::string Applied(const WriteAttempt& write, Version given, int64_t now_ms) {
    return Keep(
        fmt::format("{} answered v{}", Name(write), given),
        [&](const KeyState& state) { return After(state, write, given, now_ms); });
  }
  /// Refused because the newest version was `newest`.
  std::string Conflicted(const WriteAttempt& write, Version newest, int64_t now_ms) {
    return Keep(fmt::format("{} found v{}", Name(write), newest),
                [&](const KeyState& state) -> std::optional<KeyState> {
                  const Version now = state.LiveAt(now_ms) ? state.version : 0;
                  if (now != newest || write.if_version == now) return std::nullopt;
                  return state;
                });
  }
  std::string Absent(const char* what, int64_t now_ms) {
    return Keep(fmt::format("{} found nothing", what),
                [&](const KeyState& state) -> std::optional<KeyState> {
                  if (state.LiveAt(now_ms)) return std::nullopt;
                  return state;
                });
  }
  std::string Saw(const Observation& seen, int64_t now_ms) {
    if (seen.rows.empty()) return Absent("read", now_ms);
    return Keep("read " + Describe(seen.version, seen.rows),
                [&](const KeyState& state) -> std::optional<KeyState> {
                  if (!state.LiveAt(now_ms) || state.version != seen.version ||
                      state.rows != seen.rows) {
                    return std::nullopt;
                  }
                  return state;
                });
  }
  /// The answer to a second attempt at `write` (a put or patch, whose bytes are its own)
  /// after the first one's outcome was unknown.
  std::string Retried(const WriteAttempt& write, Version given, bool replayed,
                      int64_t now_ms) {
    return Keep(fmt::format("retry of {} answered v{}{}", Name(write), given,
                            replayed ? " (replayed)" : ""),
                [&](const KeyState& state) -> std::optional<KeyState> {
                  const bool there =
                      !state.rows.empty() && state.rows.back().second == write.bytes;
                  if (replayed != there) return std::nullopt;
                  if (!replayed) return After(state, write, given, now_ms);
                  if (state.version != given) return std::nullopt;
                  return state;
                });
  }
  /// Deleted, if it was there.
  void Deleted() {
    std::vector<KeyState> before = std::move(possible_);
    possible_.clear();
    for (const KeyState& state : before) {
      Add({state.version, false, 0, {}, state.passed});
    }
  }
  /// The write failed, and may be there all the same, or come to be.
  void Unknown(const WriteAttempt& write, int64_t now_ms) {
    Note(Name(write) + " may have been applied");
    unknown_.push_back({write, now_ms});
    AddUnknown();
  }
  /// What was unknown is decided, though nobody was told: whatever is read next holds.
  void Settle() {
    unknown_.clear();
    for (KeyState& state : possible_) state.passed = 0;
  }

  /// For the message of a failure.
  void Note(std::string what) {
    recent_.push_back(std::move(what));
    if (recent_.size() > 8) recent_.erase(recent_.begin());
  }

 private:
  static std::string Name(const WriteAttempt& write) {
    switch (write.type) {
      case WriteAttempt::Type::kPut:
        return "put";
      case WriteAttempt::Type::kPatch:
        return "patch";
      case WriteAttempt::Type::kDelete:
        return "delete";
    }
    return "";
  }

  std::optional<KeyState> After(const KeyState& before, const WriteAttempt& write,
                                Version given, int64_t now_ms) const {
    const bool live = before.LiveAt(now_ms);
    if (write.if_version && *write.if_version != (live ? before.version : 0)) {
      return std::nullopt;
    }
    KeyState after = before;
    if (write.type == WriteAttempt::Type::kDelete) {
      if ((given != 0) != live) return std::nullopt;
      if (live) after = {before.version, false, 0, {}, before.passed};
      return after;
    }
    const bool exact = live || !may_jump_;
    if (exact ? given != before.version + 1 : given <= before.version) {
      return std::nullopt;
    }
    if (write.type == WriteAttempt::Type::kPatch) {
      if (!live) return std::nullopt;
    } else {
      after.rows.clear();
      after.put = true;
      after.expires_at_ms = 0;
    }
    if (write.ttl_ms > 0) after.expires_at_ms = now_ms + write.ttl_ms;
    after.version = given;
    after.rows.emplace_back(given, write.bytes);
    return after;
  }

  /// Any of the unknown writes may take effect now, in the order in which they were
  /// tried: that is their order in the log. One that did is not repeated: it does not
  /// apply to a state that holds its bytes.
  void AddUnknown() {
    for (size_t i = 0; i < possible_.size(); ++i) {
      for (size_t j = possible_[i].passed; j < unknown_.size(); ++j) {
        const auto& [write, now_ms] = unknown_[j];
        const KeyState state = possible_[i];
        const bool remove = write.type == WriteAttempt::Type::kDelete;
        const bool there = std::any_of(
            state.rows.begin(), state.rows.end(),
            [&, &bytes = write.bytes](const auto& row) { return row.second == bytes; });
        if (!remove && there) continue;
        const Version given = remove ? state.version : state.version + 1;
        if (auto after = After(state, write, given, now_ms)) {
          after->passed = j + 1;
          Add(*std::move(after));
        }
      }
    }
  }

  void Add(KeyState state) {
    if (std::find(possible_.begin(), possible_.end(), state) == possible_.end()) {
      possible_.push_back(std::move(state));
    }
  }

  template <typename Filter>
  std::string Keep(const std::string& what, const Filter& filter) {
    Note(what);
    std::vector<KeyState> kept;
    for (const KeyState& state : possible_) {
      if (auto after = filter(state)) kept.push_back(*std::move(after));
    }
    if (kept.empty()) {
      std::string text = what + "; it can only have been";
      for (const KeyState& state : possible_) {
        text += fmt::format(" [{}, last v{}, expires {}]",
                            Describe(state.version, state.rows), state.version,
                            state.expires_at_ms);
      }
      text += "; before that:";
      for (const std::string& answer : recent_) text += "\n  " + answer;
      return text;
    }
    possible_ = std::move(kept);
    AddUnknown();
    return "";
  }

  std::vector<KeyState> possible_{KeyState{}};
  std::vector<std::pair<WriteAttempt, int64_t>> unknown_;  // And when.
  bool may_jump_ = false;
  std::vector<std::string> recent_;  // Answers, for a failure's message.
};

}  // namespace flame
