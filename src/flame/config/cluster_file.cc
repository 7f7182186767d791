#include "flame/config/cluster_file.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "flame/base/error.h"
#include "flame/config/nearest_name.h"
#include "flame/config/settings.h"

namespace flame {
namespace {

/// Existing files have these; whatever is below them belongs to other programs.
constexpr std::array<std::string_view, 6> kForeign{
    "cluster", "executors", "applications", "pprof", "cache.pprof", "cache.session_ttl"};

using Values = std::map<std::string, FileValue, std::less<>>;

struct ParsedPath {
  std::string_view parent, key;
};
ParsedPath Split(std::string_view path) {
  const size_t dot = path.rfind('.');
  if (dot == std::string_view::npos) return {"", path};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

/// Every setting, every section on the way to one, and the foreign keys.
std::set<std::string_view> KnownPaths() {
  std::set<std::string_view> paths(kForeign.begin(), kForeign.end());
  for (const Setting& setting : Settings()) {
    for (std::string_view path = setting.path; !path.empty(); path = Split(path).parent)
      paths.insert(path);
  }
  return paths;
}

std::string_view NearestPath(std::string_view path) {
  const std::set<std::string_view> known = KnownPaths();
  const auto distance = [wanted = Split(path)](std::string_view candidate) {
    const auto [parent, key] = Split(candidate);
    return EditDistance(wanted.key, key) +
           (parent == wanted.parent ? 0 : 1);  // A key of another section is further.
  };
  return *std::min_element(
      known.begin(), known.end(),
      [&](std::string_view a, std::string_view b) { return distance(a) < distance(b); });
}

const Setting* FindSetting(std::string_view path) {
  for (const Setting& setting : Settings()) {
    if (path == setting.path || path == setting.old_path) return &setting;
  }
  return nullptr;
}

class Reader {
 public:
  Reader(std::string_view file, std::vector<std::string>* warnings)
      : file_(file), warnings_(warnings) {}

  arrow::Result<Values> Read(const YAML::Node& root) {
    if (!root.IsNull() && !root.IsMap())
      return Error(root, "the file must hold keys and values");
    if (!root.IsMap() || !root["cache"]) {
      return InvalidError(
          fmt::format("{}: there is no 'cache' section; add one, for example\ncache:\n  "
                      "endpoint: grpc://127.0.0.1:9090",
                      file_));
    }
    ARROW_RETURN_NOT_OK(ReadSection(root, ""));
    return std::move(values_);
  }

 private:
  arrow::Status ReadSection(const YAML::Node& section, const std::string& parent) {
    std::set<std::string> seen;
    for (const auto& entry : section) {
      const YAML::Node& key = entry.first;
      if (!key.IsScalar())
        return Error(key, fmt::format("a key in '{}' is not a word", parent));
      const std::string path =
          parent.empty() ? key.Scalar() : fmt::format("{}.{}", parent, key.Scalar());
      if (!seen.insert(path).second)
        return Error(key, fmt::format("'{}' is given twice", path));
      ARROW_RETURN_NOT_OK(ReadValue(key, entry.second, path));
    }
    return arrow::Status::OK();
  }

  arrow::Status ReadValue(const YAML::Node& key, const YAML::Node& value,
                          const std::string& path) {
    if (std::find(kForeign.begin(), kForeign.end(), path) != kForeign.end())
      return arrow::Status::OK();
    if (const Setting* setting = FindSetting(path))
      return ReadSetting(*setting, key, value, path);
    if (!KnownPaths().contains(path)) {
      return Error(key, fmt::format("unknown key '{}'; the nearest known one is '{}'",
                                    path, NearestPath(path)));
    }
    if (value.IsNull()) return arrow::Status::OK();
    if (!value.IsMap())
      return Error(key,
                   fmt::format("'{}' is a section; put keys and values below it", path));
    return ReadSection(value, path);
  }

  arrow::Status ReadSetting(const Setting& setting, const YAML::Node& key,
                            const YAML::Node& value, const std::string& path) {
    if (value.IsNull()) return arrow::Status::OK();
    if (!value.IsScalar())
      return Error(key, fmt::format("'{}' takes a single value", path));
    FileValue found{value.Scalar(), Line(key)};
    if (path == setting.path) {
      values_.insert_or_assign(path, std::move(found));
    } else {
      warnings_->push_back(fmt::format("{}:{}: '{}' is an old name; write '{}'", file_,
                                       found.line, path, setting.path));
      values_.try_emplace(std::string(setting.path), std::move(found));
    }
    return arrow::Status::OK();
  }

  static int Line(const YAML::Node& node) { return node.Mark().line + 1; }
  arrow::Status Error(const YAML::Node& node, std::string_view message) const {
    return InvalidError(fmt::format("{}:{}: {}", file_, Line(node), message));
  }

  const std::string_view file_;
  std::vector<std::string>* const warnings_;
  Values values_;
};

}  // namespace

arrow::Result<Values> ParseClusterFile(const std::string& text, std::string_view file,
                                       std::vector<std::string>* warnings) {
  try {
    return Reader(file, warnings).Read(YAML::Load(text));
  } catch (const YAML::Exception& error) {
    return InvalidError(fmt::format("{}:{}: {}", file, error.mark.line + 1, error.msg));
  }
}

}  // namespace flame
