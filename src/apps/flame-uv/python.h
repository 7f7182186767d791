// Which Python of this machine runs a service: one of the version that is asked for, that
// can import the SDK.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flame {

struct Python {
  std::string program;   // A path; a link is not followed, so that environments work.
  std::string packages;  // A folder that it needs in PYTHONPATH; empty = none.
};

/// What `--python` may say: "python", "python3.11", "3.11.2", a path. Empty = it says
/// something else. `python${FLAME_PYTHON_VERSION}`, where nobody has set that variable,
/// is any Python 3.
struct PythonWish {
  std::string path;     // Empty = any of `version`.
  std::string version;  // "", "3", "3.11", "3.11.2"
};
std::optional<PythonWish> ParsePythonWish(std::string_view text);

struct PythonSearch {
  std::optional<Python> found;
  std::vector<std::string> seen;  // What there is instead, and why it will not do.
};

/// Looks at $FLAME_PYTHON, the active virtual environment, then the folders of the PATH.
/// `home`: where the SDK may lie in lib/pythonX.Y/site-packages.
PythonSearch FindPython(const PythonWish& wish, const std::string& home);

/// The executable `name` in the folders of the PATH; empty = there is none.
std::string InPath(const std::string& name);

}  // namespace flame
