// The configuration file, flame-cluster.yaml: its `cache:` section as texts by setting.
// The file belongs to the whole cluster, so sections of other programs are accepted
// unread; any other key that we do not know is an error.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

namespace flame {

struct FileValue {
  std::string text;
  int line = 0;
};

/// Values by setting path ("cache.storage"); keys without a value are left out. `file` is
/// for messages. kInvalid, naming file, line and nearest key, for unknown keys, a missing
/// `cache:` and what is not YAML.
arrow::Result<std::map<std::string, FileValue, std::less<>>> ParseClusterFile(
    const std::string& text, std::string_view file, std::vector<std::string>* warnings);

}  // namespace flame
