// Answers of the door that are streams of tasks. Each is an object that deletes itself
// when gRPC is done with it; `manager` and `dialect` are borrowed and outlive it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <utility>

#include "flame/base/mutex.h"
#include "flame/session/dialect.h"
#include "flame/session/session_manager.h"
#include "flame/session/watch_queue.h"
#include "flame/v1/frontend.grpc.pb.h"

namespace flame {

/// Writes a session's tasks one by one, as fast as the client reads.
class ListReactor final : public grpc::ServerWriteReactor<v1::Task> {
 public:
  ListReactor(SessionManager* manager, std::string session, const Dialect& dialect)
      : manager_(manager), session_(std::move(session)), dialect_(dialect) {
    Next();
  }
  void OnWriteDone(bool ok) override {
    if (ok)
      Next();
    else
      Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { delete this; }

 private:
  void Next() {
    auto task = manager_->NextTask(session_, &after_);
    if (!task.ok() || !*task) {
      Finish(dialect_.StatusOf(task.status()));
      return;
    }
    task_ = **std::move(task);
    dialect_.Streamed(&task_);
    StartWrite(&task_);
  }

  SessionManager* const manager_;
  const std::string session_;
  const Dialect& dialect_;
  uint64_t after_ = 0;
  v1::Task task_;  // Being written.
};

/// Writes the news of a WatchQueue to a stream, one message at a time. `Reactor` is
/// gRPC's class for the kind of stream.
template <typename Reactor>
class WatchReactor : public Reactor {
 public:
  /// `more` = the client may add watches.
  WatchReactor(SessionManager* manager, const Dialect& dialect, bool more)
      : queue_(std::make_shared<WatchQueue>(manager, [this] { Pump(); })),
        dialect_(dialect),
        more_(more) {}

  void OnWriteDone(bool ok) override {
    if (!ok) {
      End(grpc::Status::CANCELLED);
      return;
    }
    {
      MutexLock lock(mutex_);
      writing_ = false;
    }
    Pump();
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override {
    queue_->Close();
    delete this;
  }

 protected:
  void Watch(const v1::WatchTaskRequest& request) {
    const arrow::Status added = queue_->Add(request.session_id(), request.task_id());
    if (!added.ok()) End(dialect_.EndOfWatch(added));
  }
  void NoMore() {
    {
      MutexLock lock(mutex_);
      more_ = false;
    }
    Pump();
  }
  void End(const grpc::Status& status) {
    MutexLock lock(mutex_);
    EndLocked(status);
  }

 private:
  void EndLocked(const grpc::Status& status) REQUIRES(mutex_) {
    if (std::exchange(ended_, true)) return;
    Reactor::Finish(status);
  }

  void Pump() {
    for (;;) {
      {
        MutexLock lock(mutex_);
        if (ended_ || writing_) return;  // OnWriteDone() looks again.
        if (looking_) {
          look_again_ = true;
          return;
        }
        looking_ = true;
        look_again_ = false;
      }
      auto task = queue_->Take();
      MutexLock lock(mutex_);
      looking_ = false;
      const bool first = std::exchange(first_, false);
      if (!task.ok()) {
        EndLocked(dialect_.EndOfWatch(task.status()));
      } else if (*task && first && dialect_.Skips(**task)) {
        continue;
      } else if (*task && !ended_) {
        message_ = **std::move(task);
        dialect_.Streamed(&message_);
        writing_ = true;
        Reactor::StartWrite(&message_);
      } else if (look_again_) {
        continue;
      } else if (!more_ && queue_->Finished()) {
        EndLocked(grpc::Status::OK);
      }
      return;
    }
  }

  const std::shared_ptr<WatchQueue> queue_;
  const Dialect& dialect_;
  v1::Task message_;  // Being written.

  Mutex mutex_;
  bool more_ GUARDED_BY(mutex_);
  bool writing_ GUARDED_BY(mutex_) = false;
  bool first_ GUARDED_BY(mutex_) = true;
  bool looking_ GUARDED_BY(mutex_) = false;
  bool look_again_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
};

class WatchOneReactor final : public WatchReactor<grpc::ServerWriteReactor<v1::Task>> {
 public:
  WatchOneReactor(SessionManager* manager, const v1::WatchTaskRequest& request,
                  const Dialect& dialect)
      : WatchReactor(manager, dialect, /*more=*/false) {
    Watch(request);
  }
};

class WatchManyReactor final
    : public WatchReactor<grpc::ServerBidiReactor<v1::WatchTaskRequest, v1::Task>> {
 public:
  WatchManyReactor(SessionManager* manager, const Dialect& dialect)
      : WatchReactor(manager, dialect, /*more=*/true) {
    StartRead(&request_);
  }
  /// It is not to be known.
  void Refuse(const grpc::Status& status) { End(status); }
  void OnReadDone(bool ok) override {
    if (!ok) {
      NoMore();
      return;
    }
    Watch(request_);
    StartRead(&request_);
  }

 private:
  v1::WatchTaskRequest request_;
};

/// A list under a name that is not to be known.
class RefusedList final : public grpc::ServerWriteReactor<v1::Task> {
 public:
  explicit RefusedList(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace flame
