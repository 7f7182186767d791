// How much memory a control group (a container's, a systemd unit's MemoryMax) leaves to
// this process.
#pragma once

#include <cstdint>
#include <string>

namespace flame {

/// The smallest limit on the way from this process's group to the root, version 1 or 2;
/// INT64_MAX without one. `root` is where /proc and /sys are looked for: "" but in tests.
int64_t ControlGroupMemoryLimit(const std::string& root = "");

}  // namespace flame
