#include "flame/session/session_expiry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "flame/base/error.h"

namespace flame {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

class SessionExpiryTest : public ::testing::Test {
 protected:
  std::unique_ptr<SessionExpiry> Open(milliseconds ttl) {
    return std::make_unique<SessionExpiry>(
        ttl, Clock::System(),
        [this](const std::string& application, const std::string& session) {
          MutexLock lock(mutex_);
          calls_.push_back(application + "/" + session);
          changed_.NotifyAll();
          if (failures_ == 0) return arrow::Status::OK();
          --failures_;
          return InvalidError("the cache is away");
        },
        [this](const std::string& session) {
          MutexLock lock(mutex_);
          return open_.contains(session);
        });
  }
  static v1::Session Closed(const std::string& id, int64_t ago_ms) {
    v1::Session session;
    session.mutable_metadata()->set_id(id);
    session.mutable_spec()->set_application("app");
    session.mutable_status()->set_completion_time(Clock::System()->WallMs() - ago_ms);
    return session;
  }
  std::vector<std::string> AwaitCalls(size_t count) {
    MutexLock lock(mutex_);
    while (calls_.size() < count) changed_.Wait(lock);
    return calls_;
  }

  Mutex mutex_;
  CondVar changed_;
  std::vector<std::string> calls_ GUARDED_BY(mutex_);
  std::set<std::string> open_ GUARDED_BY(mutex_);
  int failures_ GUARDED_BY(mutex_) = 0;
};

TEST_F(SessionExpiryTest, SessionsExpireInTheOrderOfTheirDeadlines) {
  const auto expiry = Open(milliseconds(300));
  expiry->Add(Closed("late", 0));
  expiry->Add(Closed("long-ago", 5000));
  expiry->Add(Closed("soon", 200));
  EXPECT_THAT(AwaitCalls(3), ElementsAre("app/long-ago", "app/soon", "app/late"));
}

TEST_F(SessionExpiryTest, SessionThatWasOpenedAnewStays) {
  {
    MutexLock lock(mutex_);
    open_ = {"again"};
  }
  const auto expiry = Open(milliseconds(0));
  expiry->Add(Closed("again", 1000));
  expiry->Add(Closed("other", 0));
  EXPECT_THAT(AwaitCalls(1), ElementsAre("app/other"));
}

TEST_F(SessionExpiryTest, WhatFailsIsTriedAgain) {
  {
    MutexLock lock(mutex_);
    failures_ = 1;
  }
  const auto expiry = Open(milliseconds(0));
  expiry->Add(Closed("s", 0));
  EXPECT_THAT(AwaitCalls(2), ElementsAre("app/s", "app/s"));
}

TEST_F(SessionExpiryTest, WhatIsNotDueDoesNotHoldUpAStop) {
  const auto expiry = Open(std::chrono::hours(24));
  expiry->Add(Closed("s", 0));
}

}  // namespace
}  // namespace flame
