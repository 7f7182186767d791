#include "flame/session/service_host.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/session/text.h"
#include "flame/v1/shim.grpc.pb.h"

namespace flame {
namespace {

class Host final : public v1::Instance::Service {
 public:
  explicit Host(TaskService* service) : service_(service) {}

  grpc::Status OnSessionEnter(grpc::ServerContext*, const v1::SessionContext*,
                              v1::Result* result) override {
    result->set_return_code(0);
    return grpc::Status::OK;
  }
  grpc::Status OnTaskInvoke(grpc::ServerContext*, const v1::TaskContext* task,
                            v1::TaskResult* result) override {
    const std::lock_guard lock(mutex_);
    auto output = service_->Invoke(*task);
    result->set_return_code(output.ok() ? 0 : -1);
    if (output.ok()) {
      result->set_output(*std::move(output));
    } else {
      result->set_message(MadeUtf8(output.status().message()));
    }
    return grpc::Status::OK;
  }
  grpc::Status OnSessionLeave(grpc::ServerContext*, const v1::EmptyRequest*,
                              v1::Result* result) override {
    result->set_return_code(0);
    return grpc::Status::OK;
  }

 private:
  TaskService* const service_;
  std::mutex mutex_;  // One task at a time, whatever the executor does.
};

}  // namespace

arrow::Status ServeTasks(TaskService* service) {
  const char* named = std::getenv("FLAME_INSTANCE_ENDPOINT");
  if (named == nullptr || *named == '\0') {
    return InvalidError(
        "FLAME_INSTANCE_ENDPOINT is not set: the session manager starts this program, "
        "and "
        "sets it to the path of a socket");
  }
  std::string path = named;
  if (path.starts_with("unix://")) path.erase(0, 7);
  unlink(path.c_str());
  Host host(service);
  grpc::ServerBuilder builder;
  int bound = 0;
  builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials(), &bound);
  builder.RegisterService(&host);
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetMaxSendMessageSize(-1);
  // Whoever can connect, runs programs as this user.
  const mode_t before = umask(0177);
  const auto server = builder.BuildAndStart();
  umask(before);
  if (server == nullptr || bound == 0)
    return MakeError(ErrorCode::kUnavailable, fmt::format("cannot listen on {}", path));
  server->Wait();
  return arrow::Status::OK();
}

}  // namespace flame
