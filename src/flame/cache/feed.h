// Feed: what has been published, in order, for whoever watches: clients, later the shared
// index and replicas. Bounded: a reader that falls behind the ring is told of the gap and
// catches up from the present state.
//
// Thread-safe. Append is called in publishing order, by the commit lane.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

#include "flame/base/mutex.h"
#include "flame/object/key.h"
#include "flame/object/snapshot.h"

namespace flame {

/// One published commit of one key.
struct CommitEvent {
  /// The last three end the object.
  enum class Type { kPut, kPatch, kDelete, kExpire, kEvict };
  Type type = Type::kPut;
  Key key;
  uint64_t seq = 0;  // Dense per slot.
  Version version = 0;
  Kind kind = Kind::kOpaque;
};

/// "put", "patch", "delete", "expire", "evict": for logs and the wire.
std::string_view NameOf(CommitEvent::Type type);

/// Told of every commit, in order, by the commit lane: must not block and must not call
/// the cache.
class CommitObserver {
 public:
  virtual ~CommitObserver() = default;
  /// The commit is in the log; readers do not see it yet.
  virtual void BeforePublish(const CommitEvent& event) = 0;
  /// Readers see it; its writer has not been answered yet.
  virtual void AfterPublish(const CommitEvent& event) = 0;
};

class Feed final : public CommitObserver {
 public:
  /// `origin` tells this life of this store from every other, so that foreign cursors are
  /// recognised.
  Feed(uint64_t origin, size_t capacity) : origin_(origin), capacity_(capacity) {}

  void BeforePublish(const CommitEvent&) override {}
  void AfterPublish(const CommitEvent& event) override;

  /// Something may have been committed that was not published: every reader is told of a
  /// gap.
  void Lose();

  struct Page {
    bool gap = false;  // The cursor is older than the ring, or from another life: events
                       // were missed before these.
    std::vector<CommitEvent> events;
    std::string cursor;  // Where to go on. Opaque bytes.
  };
  /// The cursor for "from now on".
  std::string Now() const;
  /// Up to `limit` events after `cursor` of keys that start with `prefix`. With none
  /// there, wait up to `wait` for one, asking `cancelled` every 100 ms. On a gap the page
  /// is empty and its cursor is "now": the caller reads the present state, then goes on
  /// from it. kInvalid for bytes that are no cursor.
  arrow::Result<Page> Read(std::string_view cursor, std::string_view prefix,
                           int64_t limit, std::chrono::milliseconds wait,
                           const std::function<bool()>& cancelled = {}) const;
  /// Wake all readers and let them wait no more: the server is stopping.
  void Close();

 private:
  std::string CursorAt(uint64_t position) const;

  const uint64_t origin_;
  const size_t capacity_;
  mutable Mutex mutex_;
  mutable CondVar appended_;
  std::deque<CommitEvent> ring_ GUARDED_BY(mutex_);
  uint64_t next_ GUARDED_BY(mutex_) = 0;  // Position of the event after the newest.
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace flame
