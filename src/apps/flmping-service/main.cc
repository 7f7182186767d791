// flmping-service: answers every task with where it ran, so that people can see that
// sessions work, and how long a task takes that does nothing.
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <cstdio>

#include <fmt/format.h>

#include "flame/session/service_host.h"

namespace flame {
namespace {

class Ping final : public TaskService {
 public:
  arrow::Result<std::string> Invoke(const v1::TaskContext& task) override {
    char host[256] = "localhost";
    gethostname(host, sizeof host - 1);
    google::protobuf::Struct answer;  // For its JSON: ids of sessions may hold anything.
    auto& fields = *answer.mutable_fields();
    fields["message"].set_string_value(fmt::format(
        "task {} of session {} ran on {}", task.task_id(), task.session_id(), host));
    fields["session"].set_string_value(task.session_id());
    fields["task"].set_string_value(task.task_id());
    fields["host"].set_string_value(host);
    fields["pid"].set_number_value(getpid());
    std::string json;
    const auto written = google::protobuf::util::MessageToJsonString(answer, &json);
    if (!written.ok()) return arrow::Status::Invalid(written.ToString());
    return json;
  }
};

}  // namespace
}  // namespace flame

int main() {
  flame::Ping service;
  const arrow::Status status = flame::ServeTasks(&service);
  if (status.ok()) return 0;
  std::fprintf(stderr, "flmping-service: %s\n", status.message().c_str());
  return 1;
}
