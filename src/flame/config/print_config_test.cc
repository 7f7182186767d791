#include "flame/config/print_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/config/fake_host.h"
#include "flame/config/load.h"
#include "flame/config/settings.h"

namespace flame {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

class PrintConfigTest : public ::testing::Test {
 protected:
  std::string Printed(std::vector<std::string> flags = {}) {
    flags.push_back("--print-config");
    const Startup startup = LoadServerConfig(flags, "0", host_);
    const auto& exit = std::get<Exit>(startup);
    EXPECT_EQ(exit.code, 0) << exit.text;
    return exit.text;
  }
  ServerConfig Load(const std::string& file) {
    host_.files["/printed.yaml"] = file;
    host_.env = {{"HOME", "/home/bob"}};
    const Startup startup = LoadServerConfig({"-c", "/printed.yaml"}, "0", host_);
    if (const auto* exit = std::get_if<Exit>(&startup))
      ADD_FAILURE() << exit->text << file;
    return std::get<ServerConfig>(startup);
  }

  FakeHost host_;
};

TEST_F(PrintConfigTest, EveryLineSaysWhereTheValueComesFrom) {
  host_.SetDefaultFile("cache:\n  sync: always\n");
  host_.env["FLAME_CACHE_STORAGE"] = "/data";
  const std::string text = Printed({"--log-level", "debug"});
  EXPECT_THAT(text, ContainsRegex("\n  endpoint: grpc://127.0.0.1:9090 +# default\n"));
  EXPECT_THAT(text, ContainsRegex("\n  bind: 127.0.0.1:9090 +# from cache.endpoint\n"));
  EXPECT_THAT(text,
              ContainsRegex("\n  storage: fs:///data +# from env FLAME_CACHE_STORAGE\n"));
  EXPECT_THAT(
      text,
      ContainsRegex("\n  sync: always +# from /home/ann/.flame/flame-cluster.yaml:2\n"));
  EXPECT_THAT(text,
              ContainsRegex("\n  log:\n    level: debug +# from flag --log-level\n"));
  EXPECT_THAT(text, ContainsRegex("\n    # max_objects: not set +# default\n"));
}

TEST_F(PrintConfigTest, WhatIsPrintedSaysTheSameAsAFile) {
  const std::vector<std::vector<std::string>> cases{
      {},
      {"--bind", "[::]:0", "--storage", "none", "--eviction-policy", "none",
       "--max-objects", "5"},
      {"--network-interface", "^eth[0-9]$", "--log-level", "info,grpc=trace",
       "--log-file", "/tmp/a b: #c\"\\"},
      {"--advertise", "proxy:1", "--storage", "/data/null # yes", "--log-format", "json",
       "--tombstone-age", "0"},
  };
  for (const auto& flags : cases) {
    const Startup direct = LoadServerConfig(flags, "0", host_);
    const auto& expected = std::get<ServerConfig>(direct);
    const ServerConfig again = Load(Printed(flags));
    for (const Setting& setting : Settings()) {
      EXPECT_EQ(setting.print(again), setting.print(expected)) << setting.path;
    }
    EXPECT_EQ(again.AdvertisedUrl(9090), expected.AdvertisedUrl(9090));
    host_ = FakeHost();
  }
}

TEST_F(PrintConfigTest, WarningsComeFirstAsComments) {
  host_.env["RUST_LOG"] = "bad\nlevel";
  EXPECT_THAT(Printed(), ::testing::StartsWith(
                             "# warning: RUST_LOG: 'bad\\x0alevel' is not a log level"));
}

TEST_F(PrintConfigTest, ConfigurationErrorIsPrintedInstead) {
  const Startup startup = LoadServerConfig({"--print-config", "--sync", "x"}, "0", host_);
  EXPECT_EQ(std::get<Exit>(startup).code, 1);
}

}  // namespace
}  // namespace flame
