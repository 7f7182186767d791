#include "flame/http/process_stats.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace flame {
namespace {

/// Seconds since the epoch at which the machine started.
double BootTime() {
  std::ifstream file("/proc/stat");
  std::string word;
  while (file >> word) {
    double seconds = 0;
    if (word == "btime" && file >> seconds) return seconds;
  }
  return 0;
}

int64_t CountFds() {
  std::error_code error;
  int64_t count = 0;
  for (std::filesystem::directory_iterator entry("/proc/self/fd", error), end;
       !error && entry != end; entry.increment(error)) {
    ++count;
  }
  return std::max<int64_t>(count - 1, 0);  // Less the one that we looked with.
}

}  // namespace

ProcessStats ReadProcessStats() {
  ProcessStats stats;
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  // The program's name is in brackets and may hold anything; the fields behind it are
  // numbers, the state (field 3 of proc(5)) first.
  std::istringstream fields(line.substr(std::min(line.rfind(')') + 1, line.size())));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  const auto tick = static_cast<double>(sysconf(_SC_CLK_TCK));
  double user = 0, system = 0, start = 0;
  int64_t resident_pages = 0;
  fields >> user >> system;
  for (int field = 16; field < 20; ++field) fields >> skipped;
  fields >> stats.threads >> skipped >> start >> stats.virtual_bytes >> resident_pages;
  stats.cpu_seconds = (user + system) / tick;
  stats.resident_bytes = resident_pages * sysconf(_SC_PAGESIZE);
  static const double boot = BootTime();
  stats.start_time_seconds = boot + start / tick;
  stats.open_fds = CountFds();
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
    stats.max_fds = static_cast<int64_t>(limit.rlim_cur);
  return stats;
}

}  // namespace flame
