// flmexec-service: runs the script that a task brings, in JSON, and answers with what the
// script wrote, in JSON. Limits are variables of the application: FLMEXEC_TIMEOUT in
// seconds, FLMEXEC_MAX_OUTPUT in bytes.
#include <google/protobuf/util/json_util.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/session/service_host.h"
#include "script_runner.h"

extern char** environ;

namespace flame {
namespace {

class Exec final : public TaskService {
 public:
  explicit Exec(ScriptRunner runner) : runner_(std::move(runner)) {}

  arrow::Result<std::string> Invoke(const v1::TaskContext& task) override {
    flmexec::Script script;
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;
    const auto parsed =
        google::protobuf::util::JsonStringToMessage(task.input(), &script, options);
    if (!parsed.ok()) {
      return InvalidError(fmt::format(
          "InvalidScript: the task's input is no JSON like "
          R"({{"language": "shell", "code": "echo hello", "input": null}}: {})",
          std::string(parsed.message()).substr(0, 300)));
    }
    ARROW_ASSIGN_OR_RAISE(const std::string output, runner_.Run(script));
    std::string reply = R"({"data":[)";
    for (const char byte : output) {
      if (reply.back() != '[') reply += ',';
      fmt::format_to(std::back_inserter(reply), "{}", static_cast<unsigned char>(byte));
    }
    return reply + "]}";
  }

 private:
  const ScriptRunner runner_;
};

/// A whole number in `environment`, which is taken out of it; `otherwise` if it has none.
arrow::Result<int64_t> Take(EnvironmentMap* environment, const std::string& name,
                            int64_t otherwise) {
  const auto found = environment->find(name);
  if (found == environment->end()) return otherwise;
  const std::string text = found->second;
  environment->erase(found);
  int64_t number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number <= 0)
    return InvalidError(
        fmt::format("{} is '{}'; it must be a whole number above 0", name, text));
  return number;
}

arrow::Status Serve() {
  EnvironmentMap environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const char* equals = std::strchr(*variable, '=');
    if (equals != nullptr)
      environment[{*variable, static_cast<size_t>(equals - *variable)}] = equals + 1;
  }
  ScriptLimits limits;
  ARROW_ASSIGN_OR_RAISE(const int64_t seconds,
                        Take(&environment, "FLMEXEC_TIMEOUT", 300));
  limits.time = std::chrono::seconds(seconds);
  ARROW_ASSIGN_OR_RAISE(limits.output,
                        Take(&environment, "FLMEXEC_MAX_OUTPUT", limits.output));
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  Exec service(ScriptRunner(std::move(environment), self.parent_path().string(), limits));
  return ServeTasks(&service);
}

}  // namespace
}  // namespace flame

int main() {
  const arrow::Status status = flame::Serve();
  if (status.ok()) return 0;
  std::fprintf(stderr, "flmexec-service: %s\n", status.message().c_str());
  return 1;
}
