// What the files of Cache share beyond its header. Not for doors.
#pragma once

#include <vector>

#include "flame/base/error.h"
#include "flame/cache/cache.h"

namespace flame {

/// For the scope of a call: hold the cache open, or answer that it is closing.
#define ENTER_OR_RETURN()                                        \
  const auto pass = gate_.Enter();                               \
  if (!pass) {                                                   \
    return MakeError(ErrorCode::kUnavailable,                    \
                     "the server is stopping; try again later"); \
  }

/// Keeps the heads of some keys in memory while a write decides about them.
class Cache::Pins {
 public:
  explicit Pins(Cache* cache) : cache_(cache) {}
  ~Pins();
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;

  /// Make sure that the head of `key` is in the table, and keep it there. Returns the
  /// version it shows now.
  arrow::Result<Version> Add(const Key& key, bool may_be_foreign);

  const std::vector<Key>& keys() const { return keys_; }

 private:
  Cache* const cache_;
  std::vector<Key> keys_;
};

/// One operation's outcome, decided under the locks.
struct Cache::Planned {
  WriteResult result;
  std::optional<Row> row;  // The key's new row; nullopt = nothing changes.
};

}  // namespace flame
