// ShimClient: calls a service on its Unix socket, one call at a time.
//
// Confined to the executor's thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <arrow/result.h>
#include <google/protobuf/message_lite.h>
#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include "flame/session/task_pipe.h"

namespace flame {

class ShimClient {
 public:
  /// Of replies that are larger than `max_reply` bytes nothing is taken; -1 = no limit.
  explicit ShimClient(const std::string& socket_path, int max_reply = -1);

  /// Wait up to `patience` for the service to accept connections.
  bool AwaitConnected(std::chrono::milliseconds patience);

  struct Reply {
    grpc::Status status;
    std::string bytes;
  };
  /// Call `method` ("OnTaskInvoke"). While it runs, `go_on` is asked every tenth of a
  /// second; when it says no the call is cancelled.
  Reply Call(const char* method, const google::protobuf::MessageLite& request,
             const std::function<bool()>& go_on);
  /// Have tasks go through a TaskPipe, if the service has one. After OnSessionEnter.
  void OpenPipe() { pipe_ = TaskPipe::Connect(socket_path_); }
  /// OnTaskInvoke, by pipe or call.
  Reply Invoke(const google::protobuf::MessageLite& task,
               const std::function<bool()>& go_on);

 private:
  const std::string socket_path_;
  const int max_reply_;
  std::unique_ptr<TaskPipe> pipe_;
  const std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace flame
