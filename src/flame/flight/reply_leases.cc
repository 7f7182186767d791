#include "flame/flight/reply_leases.h"

#include <algorithm>

#include "flame/base/error.h"

namespace flame {
namespace {

constexpr std::chrono::seconds kPatience{10};
constexpr std::chrono::milliseconds kTurn{100};

}  // namespace

struct ReplyLeases::Lease {
  Lease(ReplyLeases* owner, Part part, Budget::Lease bytes)
      : owner(owner), part(part), bytes(std::move(bytes)) {}
  ~Lease() {
    MutexLock lock(owner->mutex_);
    const auto found = owner->leases_.find(part);
    // A reader who came when this one had just ended has made another.
    if (found != owner->leases_.end() && found->second.expired())
      owner->leases_.erase(found);
  }

  ReplyLeases* const owner;
  const Part part;
  const Budget::Lease bytes;
};

arrow::Result<ReplyLeases::Held> ReplyLeases::Read(const Reader& reader) {
  ARROW_ASSIGN_OR_RAISE(Budget::Lease room, RoomToLoad(reader));
  while (true) {
    ARROW_ASSIGN_OR_RAISE(GetResult got, reader.get());
    const auto* found = std::get_if<std::shared_ptr<const Snapshot>>(&got);
    const int64_t held = found == nullptr ? 0 : reader.size(**found);
    if (held <= kFree) return Held{std::move(got), nullptr};
    // One that is larger than all there is goes alone.
    const Part part{(*found)->id, std::min(held, budget_.limit())};
    {
      MutexLock lock(mutex_);
      const auto other = leases_.find(part);
      auto lease = other == leases_.end() ? nullptr : other->second.lock();
      if (lease != nullptr) return Held{std::move(got), std::move(lease)};
    }
    if (room.bytes() < part.second) {
      room = Budget::Lease();
      auto at_once = budget_.Acquire(part.second, std::chrono::seconds(0));
      if (!at_once.ok()) {
        got = Absent{};
        ARROW_ASSIGN_OR_RAISE(room,
                              budget_.Acquire(part.second, kPatience, reader.cancelled));
        continue;
      }
      room = *std::move(at_once);
    }
    const auto mine = std::make_shared<Lease>(this, part, std::move(room));
    std::shared_ptr<Lease> lease;
    {
      MutexLock lock(mutex_);
      std::weak_ptr<Lease>& place = leases_[part];
      lease = place.lock();  // Another reader may have come first.
      if (lease == nullptr) place = lease = mine;
    }
    return Held{std::move(got), std::move(lease)};
  }
}

arrow::Result<Budget::Lease> ReplyLeases::RoomToLoad(const Reader& reader) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const int64_t bytes, reader.to_load());
    if (bytes <= kFree) return Budget::Lease();
    // In turns: another reader may have loaded it meanwhile, and its lease is shared.
    auto room =
        budget_.Acquire(std::min(bytes, budget_.limit()), kTurn, reader.cancelled);
    if (room.ok() || !IsError(room.status(), ErrorCode::kExhausted) ||
        std::chrono::steady_clock::now() > deadline) {
      return room;
    }
  }
}

arrow::Result<Budget::Lease> ReplyLeases::Acquire(
    int64_t bytes, const std::function<bool()>& cancelled) {
  if (bytes <= kFree) return Budget::Lease();
  return budget_.Acquire(std::min(bytes, budget_.limit()), kPatience, cancelled);
}

}  // namespace flame
