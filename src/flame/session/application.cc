#include "flame/session/application.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "flame/session/refusal.h"

namespace flame {
namespace {

using arrow::Status;

constexpr uint32_t kDefaultMaxInstances = 1'000'000;
constexpr int64_t kDefaultDelayReleaseSeconds = 60;
/// Parsed, JSON takes many times its size.
constexpr size_t kMaxSchema = 256 << 10;
constexpr std::array<std::string_view, 7> kSchemaTypes{
    "null", "boolean", "object", "array", "number", "string", "integer"};

bool IsSchemaType(const google::protobuf::Value& type) {
  if (type.has_list_value()) {
    const auto& values = type.list_value().values();
    return std::all_of(values.begin(), values.end(), IsSchemaType);
  }
  return std::find(kSchemaTypes.begin(), kSchemaTypes.end(), type.string_value()) !=
         kSchemaTypes.end();
}

/// A schema is an object or a boolean; of its keywords, those that people mistype are
/// looked at. It is stored, never applied.
Status CheckSchema(std::string_view name, const std::string& text) {
  if (text.size() > kMaxSchema) {
    return InvalidRefusal(fmt::format("invalid schema '{}': it has {} bytes, at most {}",
                                      name, text.size(), kMaxSchema));
  }
  google::protobuf::Value value;
  const auto parsed = google::protobuf::util::JsonStringToMessage(text, &value);
  if (!parsed.ok()) {
    return InvalidRefusal(fmt::format("invalid schema '{}': it is not JSON: {}", name,
                                      std::string(parsed.message())));
  }
  std::string_view problem;
  if (value.has_struct_value()) {
    const auto& fields = value.struct_value().fields();
    if (const auto type = fields.find("type");
        type != fields.end() && !IsSchemaType(type->second))
      problem = "'type' is no type of JSON";
    if (const auto properties = fields.find("properties");
        properties != fields.end() && !properties->second.has_struct_value())
      problem = "'properties' is not an object";
    if (const auto required = fields.find("required");
        required != fields.end() && !required->second.has_list_value())
      problem = "'required' is not a list";
  } else if (value.kind_case() != google::protobuf::Value::kBoolValue) {
    problem = "it is neither an object nor a boolean";
  }
  if (problem.empty()) return Status::OK();
  return InvalidRefusal(
      fmt::format("invalid schema '{}': it is not a JSON Schema: {}", name, problem));
}

}  // namespace

Status CheckApplicationSpec(const v1::ApplicationSpec& spec) {
  if (!spec.working_directory().empty() && spec.working_directory().front() != '/') {
    return InvalidRefusal(
        fmt::format("invalid working_directory '{}': it must be an absolute path",
                    spec.working_directory()));
  }
  const v1::ApplicationSchema& schema = spec.schema();
  if (schema.has_input()) ARROW_RETURN_NOT_OK(CheckSchema("input", schema.input()));
  if (schema.has_output()) ARROW_RETURN_NOT_OK(CheckSchema("output", schema.output()));
  if (schema.has_common_data())
    ARROW_RETURN_NOT_OK(CheckSchema("common_data", schema.common_data()));
  for (const v1::Environment& variable : spec.environments()) {
    if (variable.name().empty() ||
        variable.name().find_first_of(std::string_view("=\0", 2)) != std::string::npos)
      return InvalidRefusal(
          fmt::format("invalid environment variable '{}'", variable.name()));
  }
  return Status::OK();
}

void FillApplicationDefaults(v1::ApplicationSpec* spec) {
  if (!spec->has_max_instances()) spec->set_max_instances(kDefaultMaxInstances);
  if (!spec->has_delay_release()) spec->set_delay_release(kDefaultDelayReleaseSeconds);
  if (spec->working_directory().empty()) spec->clear_working_directory();
}

std::vector<NamedApplication> StartUpApplications() {
  v1::ApplicationSpec run;
  run.set_description(
      "The Flame Runner application for executing customized Python applications.");
  run.set_command("${FLAME_HOME}/bin/uv");
  for (const char* argument : {"run", "--python", "python${FLAME_PYTHON_VERSION}",
                               "python", "-m", "flamepy.runner.runpy"})
    run.add_arguments(argument);
  run.set_installer("python");
  run.mutable_schema();

  v1::ApplicationSpec ping;
  ping.set_description("The Flame Ping application, which tells where its tasks run.");
  ping.set_command("${FLAME_HOME}/bin/flmping-service");
  ping.set_url("file://${FLAME_HOME}/bin/flmping-service");
  ping.mutable_schema();

  v1::ApplicationSpec exec;
  exec.set_description("The Flame Executor application, which runs scripts.");
  exec.set_command("${FLAME_HOME}/bin/flmexec-service");
  exec.mutable_schema()->set_input(
      R"({"type":"object","properties":{"language":{"type":"string"},"code":{"type":"string"},)"
      R"("input":{"type":"array","items":{"type":"integer"}}},"required":["language","code"]})");
  exec.mutable_schema()->set_output(R"({"type":"string"})");

  return {{"flmrun", run}, {"flmping", ping}, {"flmexec", exec}};
}

}  // namespace flame
