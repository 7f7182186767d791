// TaskPipe: tasks and their results as frames on a Unix socket, for services that offer
// it (those of our SDK). A gRPC call costs a Python service several times as much.
//
// A frame is a length, four bytes with the lowest first, and as many bytes: a TaskContext
// one way, a TaskResult the other. One task at a time. Confined to the executor's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <grpcpp/support/status.h>

namespace flame {

/// What a pipe's path has after that of the instance's socket.
inline constexpr char kTaskPipeEnding[] = ".t";
/// Tells a service that its executor would use a pipe.
inline constexpr char kTaskPipeVariable[] = "FLAME_INSTANCE_PIPE";

class TaskPipe {
 public:
  /// Null where the service has none.
  static std::unique_ptr<TaskPipe> Connect(const std::string& socket_path);
  ~TaskPipe();
  TaskPipe(const TaskPipe&) = delete;
  TaskPipe& operator=(const TaskPipe&) = delete;

  /// As ShimClient::Call. After an error the pipe is of no use any more.
  grpc::Status Call(std::string_view request, int max_reply,
                    const std::function<bool()>& go_on, std::string* reply);

 private:
  explicit TaskPipe(int fd) : fd_(fd) {}
  grpc::Status Send(std::string_view bytes, const std::function<bool()>& go_on);
  /// Fill `bytes`.
  grpc::Status Receive(std::string* bytes, const std::function<bool()>& go_on);
  grpc::Status Await(short events, const std::function<bool()>& go_on);

  const int fd_;
};

}  // namespace flame
