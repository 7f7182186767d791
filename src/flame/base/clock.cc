#include "flame/base/clock.h"

#include <ctime>

namespace flame {
namespace {

int64_t Milliseconds(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

class SystemClock final : public Clock {
 public:
  int64_t WallMs() const override { return Milliseconds(CLOCK_REALTIME); }
  int64_t BootMs() const override { return Milliseconds(CLOCK_BOOTTIME); }
};

}  // namespace

const Clock* Clock::System() {
  static const SystemClock clock;
  return &clock;
}

}  // namespace flame
