// The configuration file, flame-cluster.yaml.
#include "flame/config/cluster_file.h"

#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::string> warnings;
  const auto values = flame::ParseClusterFile(std::string(flame::fuzz::Text(data, size)),
                                              "flame-cluster.yaml", &warnings);
  if (!values.ok()) {
    FUZZ_CHECK(values.status().message().starts_with("flame-cluster.yaml:"));
    return 0;
  }
  for (const auto& [path, value] : *values) FUZZ_CHECK(value.line > 0);
  return 0;
}
