// TempDirectory: a directory for one test, removed at the end of it. Tests only.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace flame {

class TempDirectory {
 public:
  TempDirectory() {
    // In memory where that is possible: RocksDB syncs some fifty files whenever it makes
    // a database.
    const bool in_memory =
        std::getenv("TMPDIR") == nullptr && access("/dev/shm", W_OK) == 0;
    const std::string parent =
        in_memory ? "/dev/shm" : std::filesystem::temp_directory_path().string();
    std::string pattern = parent + "/flame-test-XXXXXX";
    path_ = mkdtemp(pattern.data()) != nullptr ? pattern : std::string("flame-test");
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace flame
