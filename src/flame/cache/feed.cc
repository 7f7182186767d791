#include "flame/cache/feed.h"

#include <cstring>

#include "flame/base/error.h"

namespace flame {
namespace {

constexpr char kCursorFormat = 1;
constexpr size_t kCursorSize = 1 + 8 + 8;  // Format, origin, position.

}  // namespace

std::string_view NameOf(CommitEvent::Type type) {
  switch (type) {
    case CommitEvent::Type::kPut:
      return "put";
    case CommitEvent::Type::kPatch:
      return "patch";
    case CommitEvent::Type::kDelete:
      return "delete";
    case CommitEvent::Type::kExpire:
      return "expire";
    case CommitEvent::Type::kEvict:
      return "evict";
  }
  return "put";
}

void Feed::AfterPublish(const CommitEvent& event) {
  {
    MutexLock lock(mutex_);
    ring_.push_back(event);
    if (ring_.size() > capacity_) ring_.pop_front();
    ++next_;
  }
  appended_.NotifyAll();
}

void Feed::Lose() {
  {
    MutexLock lock(mutex_);
    ring_.clear();
    ++next_;
  }
  appended_.NotifyAll();
}

std::string Feed::CursorAt(uint64_t position) const {
  std::string cursor(kCursorSize, '\0');
  cursor[0] = kCursorFormat;
  std::memcpy(cursor.data() + 1, &origin_, 8);
  std::memcpy(cursor.data() + 9, &position, 8);
  return cursor;
}

std::string Feed::Now() const {
  MutexLock lock(mutex_);
  return CursorAt(next_);
}

arrow::Result<Feed::Page> Feed::Read(std::string_view cursor, std::string_view prefix,
                                     int64_t limit, std::chrono::milliseconds wait,
                                     const std::function<bool()>& cancelled) const {
  using namespace std::chrono_literals;
  if (cursor.size() != kCursorSize || cursor[0] != kCursorFormat) {
    return InvalidError("the feed cursor is not one that this server handed out");
  }
  uint64_t origin = 0;
  uint64_t position = 0;
  std::memcpy(&origin, cursor.data() + 1, 8);
  std::memcpy(&position, cursor.data() + 9, 8);
  const auto deadline = std::chrono::steady_clock::now() + wait;

  Page page;
  MutexLock lock(mutex_);
  while (true) {
    const uint64_t oldest = next_ - ring_.size();
    if (origin != origin_ || position < oldest || position > next_) {
      page.gap = true;
      page.cursor = CursorAt(next_);
      return page;
    }
    for (; position < next_ && std::ssize(page.events) < limit; ++position) {
      const CommitEvent& event = ring_[position - oldest];
      if (event.key.text().starts_with(prefix)) page.events.push_back(event);
    }
    const auto now = std::chrono::steady_clock::now();
    if (!page.events.empty() || now >= deadline || closed_ ||
        (cancelled && cancelled())) {
      page.cursor = CursorAt(position);
      return page;
    }
    appended_.WaitUntil(lock, std::min(deadline, now + 100ms));
  }
}

void Feed::Close() {
  {
    MutexLock lock(mutex_);
    closed_ = true;
  }
  appended_.NotifyAll();
}

}  // namespace flame
