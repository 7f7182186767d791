// LogsService: the gRPC service for the output of instances (proto/flame/manager/v1).
// Streams have no thread; those that follow are looked after by one thread together.
//
// Thread-safe.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <thread>

#include "flame/base/mutex.h"
#include "flame/manager/v1/logs.grpc.pb.h"
#include "flame/session/instance_logs.h"
#include "flame/session/session_manager.h"

namespace flame {

class LogsService final : public manager::v1::Logs::CallbackService {
 public:
  /// Both are borrowed and outlive the service.
  LogsService(const SessionManager* manager, const InstanceLogs* logs);
  /// REQUIRES: the server that it was registered with is gone.
  ~LogsService() override;

  grpc::ServerUnaryReactor* ListLogs(grpc::CallbackServerContext* context,
                                     const manager::v1::ListLogsRequest* request,
                                     manager::v1::ListLogsResponse* response) override;
  grpc::ServerWriteReactor<manager::v1::LogChunk>* ReadLog(
      grpc::CallbackServerContext* context,
      const manager::v1::ReadLogRequest* request) override;

 private:
  class Reader;

  void Follow();

  const SessionManager* const manager_;
  const InstanceLogs* const logs_;

  Mutex mutex_;
  CondVar changed_;
  std::set<std::shared_ptr<Reader>> readers_ GUARDED_BY(mutex_);
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::thread follower_;  // Constant after construction.
};

}  // namespace flame
