// ProcessStats: what the kernel knows of this process.
#pragma once

#include <cstdint>

namespace flame {

struct ProcessStats {
  double cpu_seconds = 0;  // User and system, all threads.
  int64_t resident_bytes = 0;
  int64_t virtual_bytes = 0;
  int64_t open_fds = 0;
  int64_t max_fds = 0;
  int64_t threads = 0;
  double start_time_seconds = 0;  // Since the Unix epoch.
};

/// From /proc/self; what can't be read is 0.
ProcessStats ReadProcessStats();

}  // namespace flame
