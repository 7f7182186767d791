#include "flame/session/scheduler.h"

#include <algorithm>
#include <numeric>

namespace flame {
namespace {

/// What a session has, and what it lacks.
struct Account {
  uint64_t live = 0;  // Instances that do not leave.
  uint64_t starting = 0;
  uint64_t wanted = 0;
  bool waits = false;  // For the room that one idle instance makes.
};

class Planner {
 public:
  Planner(const std::vector<SessionDemand>& sessions,
          const std::vector<InstanceUse>& instances, const NodeLimits& limits)
      : sessions_(sessions),
        instances_(instances),
        limits_(limits),
        accounts_(sessions.size()),
        taken_(instances.size()) {
    for (const InstanceUse& instance : instances) {
      total_ += instance.resources;
      ++count_;
      if (instance.state == InstanceUse::State::kLeaving) {
        AddLeaving(instance.resources);
        continue;
      }
      Account& account = accounts_[instance.session];
      ++account.live;
      if (instance.state == InstanceUse::State::kStarting) ++account.starting;
      if (instance.state != InstanceUse::State::kIdle) busy_ += instance.resources;
    }
    for (size_t i = 0; i < sessions.size(); ++i) {
      const SessionDemand& session = sessions[i];
      if (!session.per_instance.FitsInto(limits.overcommitted)) continue;  // Never.
      const uint64_t target =
          std::min(session.max, std::max(session.min, session.waiting + session.running));
      accounts_[i].wanted = target > accounts_[i].live ? target - accounts_[i].live : 0;
    }
  }

  Plan Make() && {
    std::vector<size_t> order(sessions_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [this](size_t a, size_t b) {
      if (sessions_[a].priority != sessions_[b].priority)
        return sessions_[a].priority > sessions_[b].priority;
      return sessions_[a].serial < sessions_[b].serial;
    });
    for (size_t first = 0; first < order.size();) {
      size_t last = first;
      while (last < order.size() &&
             sessions_[order[last]].priority == sessions_[order[first]].priority)
        ++last;
      for (size_t i = first; i < last; ++i) GrantFirst(order[i]);
      for (size_t i = first; i < last; ++i) GrantMore(order[i]);
      if (lacks_room_) break;
      first = last;
    }
    return std::move(plan_);
  }

 private:
  void GrantFirst(size_t session) {
    const Account& account = accounts_[session];
    if (account.live == 0 && account.wanted > 0 && HasRoom(session)) Grant(session);
  }

  void GrantMore(size_t session) {
    Account& account = accounts_[session];
    while (account.wanted > 0) {
      Resources busy = busy_;
      busy += sessions_[session].per_instance;
      if (!busy.FitsInto(limits_.machine)) {
        // Over-commit. One that was started is given time to show what it is good for.
        plan_.starved = lacks_room_ = true;
        if (!sessions_[session].stalled || account.starting > 0) return;
      }
      if (!HasRoom(session)) return;
      Grant(session);
    }
  }

  void Grant(size_t session) {
    Account& account = accounts_[session];
    --account.wanted;
    ++account.live;
    ++account.starting;
    total_ += sessions_[session].per_instance;
    busy_ += sessions_[session].per_instance;
    ++count_;
    plan_.starts.push_back(session);
  }

  /// Else idle instances are asked to make some, which a later plan finds.
  bool HasRoom(size_t session) {
    const Resources& needed = sessions_[session].per_instance;
    if (Fits(needed, total_, count_)) return true;
    plan_.starved = true;
    lacks_room_ = true;
    if (accounts_[session].waits) return false;
    while (!FitsAfterLeaving(needed)) {
      const size_t victim = LongestIdle(session);
      if (victim == instances_.size()) return false;
      taken_[victim] = true;
      --accounts_[instances_[victim].session].live;
      AddLeaving(instances_[victim].resources);
      plan_.reclaims.push_back(victim);
    }
    // The room that this one will get is not promised to another one.
    accounts_[session].waits = true;
    reserved_ += needed;
    ++reserved_count_;
    return false;
  }

  bool Fits(const Resources& needed, Resources used, uint64_t count) const {
    used += needed;
    return used.FitsInto(limits_.overcommitted) && count < limits_.instances;
  }

  bool FitsAfterLeaving(const Resources& needed) const {
    Resources used = total_;
    used.cpu -= leaving_.cpu;
    used.memory -= leaving_.memory;
    used.gpu -= leaving_.gpu;
    used += reserved_;
    return Fits(needed, used, count_ - leaving_count_ + reserved_count_);
  }

  void AddLeaving(const Resources& resources) {
    leaving_ += resources;
    ++leaving_count_;
  }

  size_t LongestIdle(size_t for_session) const {
    size_t best = instances_.size();
    for (size_t i = 0; i < instances_.size(); ++i) {
      const InstanceUse& instance = instances_[i];
      if (taken_[i] || instance.state != InstanceUse::State::kIdle ||
          instance.session == for_session)
        continue;
      if (accounts_[instance.session].live <= sessions_[instance.session].min) continue;
      if (best == instances_.size() ||
          instance.idle_since_ms < instances_[best].idle_since_ms)
        best = i;
    }
    return best;
  }

  const std::vector<SessionDemand>& sessions_;
  const std::vector<InstanceUse>& instances_;
  const NodeLimits& limits_;
  std::vector<Account> accounts_;
  std::vector<bool> taken_;
  Resources total_, busy_, leaving_, reserved_;
  uint64_t count_ = 0, leaving_count_ = 0, reserved_count_ = 0;
  bool lacks_room_ = false;
  Plan plan_;
};

}  // namespace

Plan MakePlan(const std::vector<SessionDemand>& sessions,
              const std::vector<InstanceUse>& instances, const NodeLimits& limits) {
  return Planner(sessions, instances, limits).Make();
}

}  // namespace flame
