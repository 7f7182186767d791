// The main of fuzz targets that are built without libFuzzer: runs the target once for
// each file named, or in each folder named, so that what once was found stays mended.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "fuzz/fuzz.h"

namespace {

std::vector<std::filesystem::path> FilesOf(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return {path};
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

int main(int argc, char** argv) {
  size_t runs = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& path : FilesOf(argv[i])) {
      std::ifstream file(path, std::ios::binary);
      // On the heap and no byte longer: a read beyond the end is noticed.
      std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
      bytes.shrink_to_fit();
      if (!file) {
        std::fprintf(stderr, "can't read %s\n", path.c_str());
        return 1;
      }
      std::fprintf(stderr, "%s\n", path.c_str());  // The last one printed is to blame.
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()),
                             bytes.size());
      ++runs;
    }
  }
  std::fprintf(stderr, "%zu inputs, no harm done\n", runs);
  return runs > 0 ? 0 : 1;
}
