#include "flame/session/watch_queue.h"

#include "flame/session/manager_internal.h"
#include "flame/session/names.h"

namespace flame {

arrow::Status WatchQueue::Add(const std::string& session, const std::string& task) {
  ARROW_ASSIGN_OR_RAISE(const uint64_t id, ParseTaskId(task));
  {
    MutexLock lock(mutex_);
    Watched& watched = watched_[{session, id}];
    watched.last_state = -1;  // Whoever asks again wants the state again.
  }
  // First the listener, then the state: what happens in between is seen twice, not never.
  arrow::Status status = manager_->Listen(session, id, weak_from_this());
  if (!status.ok()) {
    MutexLock lock(mutex_);
    watched_.erase({session, id});
    return status;
  }
  OnTaskChanged(session, id, v1::Pending);
  return arrow::Status::OK();
}

void WatchQueue::OnTaskChanged(const std::string& session, uint64_t task, v1::TaskState) {
  std::function<void()> news;
  {
    MutexLock lock(mutex_);
    const auto found = watched_.find({session, task});
    if (found == watched_.end() || found->second.queued || !news_) return;
    found->second.queued = true;
    queue_.push_back(found->first);
    news = news_;
    ++calling_;
  }
  news();
  MutexLock lock(mutex_);
  if (--calling_ == 0) idle_.NotifyAll();
}

arrow::Result<std::optional<v1::Task>> WatchQueue::Take() {
  for (;;) {
    Key key;
    {
      MutexLock lock(mutex_);
      if (queue_.empty()) return std::nullopt;
      key = std::move(queue_.front());
      queue_.pop_front();
      watched_[key].queued = false;
    }
    ARROW_ASSIGN_OR_RAISE(auto task, manager_->GetTask(key.first, key.second));
    const v1::TaskState state = task.status().state();
    MutexLock lock(mutex_);
    Watched& watched = watched_[key];
    if (watched.last_state == state) continue;
    watched.last_state = state;
    if (IsTerminal(state)) {
      watched_.erase(key);
      std::erase(queue_, key);
    }
    return task;
  }
}

bool WatchQueue::Finished() const {
  MutexLock lock(mutex_);
  return watched_.empty();
}

void WatchQueue::Close() {
  MutexLock lock(mutex_);
  news_ = nullptr;
  while (calling_ > 0) idle_.Wait(lock);
}

}  // namespace flame
