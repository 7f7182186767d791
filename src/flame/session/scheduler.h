// The scheduler's arithmetic: which sessions get an instance now, and which idle
// instances have to make room. A function of numbers: it starts nothing, holds nothing,
// and tests need neither processes nor time.
//
// The rules, in order:
//  1. A session wants as many instances as it has tasks waiting and running, at least
//     `min` and at most `max`.
//  2. Higher priority first; within one, a session without any instance before those that
//     have some; then the older session. While one of a priority lacks room, lower
//     priorities get nothing.
//  3. An instance is started at once while what works (idle instances do not) fits the
//     machine. Beyond that, up to the over-committed limit, a session gets its first
//     instance at once and another one only when it is stalled: tasks that wait for other
//     tasks of their own session must not wait for ever, but work that merely takes long
//     must not flood the machine.
//  4. At the limit, idle instances that other sessions do not need for their minimum make
//     room, the longest idle first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace flame {

struct Resources {
  uint64_t cpu = 0;
  uint64_t memory = 0;  // Bytes.
  uint64_t gpu = 0;

  Resources& operator+=(const Resources& other) {
    cpu += other.cpu;
    memory += other.memory;
    gpu += other.gpu;
    return *this;
  }
  bool FitsInto(const Resources& limit) const {
    return cpu <= limit.cpu && memory <= limit.memory && gpu <= limit.gpu;
  }
};

struct SessionDemand {
  uint32_t priority = 0;
  uint64_t serial = 0;  // Rises with the time of creation.
  Resources per_instance;
  uint64_t waiting = 0;  // Tasks that no instance has taken.
  uint64_t running = 0;
  uint64_t min = 0;
  uint64_t max = 0;
  bool stalled = false;  // Nothing has moved for a while though tasks wait.
};

struct InstanceUse {
  size_t session = 0;  // Index of its demand.
  Resources resources;
  enum class State { kStarting, kWorking, kIdle, kLeaving };
  State state = State::kStarting;
  int64_t idle_since_ms = 0;
};

struct NodeLimits {
  Resources machine;
  /// What instances may take together; at least `machine`.
  Resources overcommitted;
  uint64_t instances = 0;  // At most so many.
};

struct Plan {
  std::vector<size_t> starts;    // Indexes of sessions, one for each instance.
  std::vector<size_t> reclaims;  // Indexes of instances.
  bool starved = false;          // Somebody could use more.
};

Plan MakePlan(const std::vector<SessionDemand>& sessions,
              const std::vector<InstanceUse>& instances, const NodeLimits& limits);

}  // namespace flame
