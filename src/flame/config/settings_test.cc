#include "flame/config/settings.h"

#include <set>

#include <gtest/gtest.h>

#include "flame/config/fake_host.h"
#include "flame/config/server_config.h"

namespace flame {
namespace {

TEST(SettingsTest, NamesAreUnique) {
  std::set<std::string_view> names;
  for (const Setting& setting : Settings()) {
    EXPECT_TRUE(names.insert(setting.path).second) << setting.path;
    EXPECT_TRUE(names.insert(setting.flag).second) << setting.flag;
    EXPECT_TRUE(names.insert(setting.env).second) << setting.env;
  }
}

TEST(SettingsTest, FlagAndVariableHaveTheSameWords) {
  for (const Setting& setting : Settings()) {
    if (setting.path == "cache.log.level")
      continue;  // FLAME_LOG is what the SDK calls it.
    std::string words(setting.flag.substr(2));
    for (char& c : words) c = c == '-' ? '_' : static_cast<char>(std::toupper(c));
    EXPECT_TRUE(setting.env == "FLAME_CACHE_" + words || setting.env == "FLAME_" + words)
        << setting.env;
  }
}

TEST(SettingsTest, DefaultThatIsShownIsTheDefault) {
  const ServerConfig config;
  const std::set<std::string_view> depends_on_machine{
      "cache.bind",         "cache.advertise",           "cache.storage",
      "cache.runtime_dir",  "cache.eviction.max_memory", "cache.limits.in_flight",
      "cache.limits.object"};
  for (const Setting& setting : Settings()) {
    if (depends_on_machine.contains(setting.path)) continue;
    EXPECT_EQ(setting.print(config).value_or(""), setting.usual) << setting.path;
  }
}

TEST(SettingsTest, WhatIsPrintedIsReadBackAsTheSame) {
  const std::map<std::string_view, std::string> samples{
      {"cache.endpoint", "http://cache:1"},   {"cache.bind", "[::]:0"},
      {"cache.advertise", "grpc://proxy:80"}, {"cache.network_interface", "eth.*"},
      {"cache.storage", "fs:///data"},        {"cache.sync", "always"},
      {"cache.pack_below", "1000"},           {"cache.patches_max", "7"},
      {"cache.runtime_dir", "/run/x"},        {"cache.tombstones_max", "0"},
      {"cache.tombstone_age", "90m"},         {"cache.eviction.policy", "none"},
      {"cache.eviction.max_memory", "1536M"}, {"cache.eviction.max_objects", "0"},
      {"cache.limits.in_flight", "3G"},       {"cache.tls.cert_file", "/c"},
      {"cache.tls.key_file", "/k"},           {"cache.tls.client_ca_file", "/cc"},
      {"cache.tls.ca_file", "/ca"},           {"cache.log.level", "warn,grpc=trace"},
      {"cache.log.format", "json"},           {"cache.log.file", "/var/log/x"},
      {"cache.drain_timeout", "1500ms"},      {"cache.unix_socket", "/run/x.sock"},
      {"cache.exit_when_idle", "5m"},         {"cache.compression", "zstd"},
      {"cache.http.endpoint", "off"},         {"cache.limits.object", "2G"},
      {"cache.limits.streams", "9"},          {"cache.limits.list_objects", "11"},
      {"cache.limits.list_bytes", "1M"},      {"cache.compression_min_size", "1000"},
      {"cache.compression_min_gain", "0.25"}};
  const FakeHost host;
  for (const Setting& setting : Settings()) {
    ASSERT_TRUE(samples.contains(setting.path)) << "give a sample of " << setting.path;
    ServerConfig config;
    const arrow::Status status = setting.parse(samples.at(setting.path), host, &config);
    ASSERT_TRUE(status.ok()) << setting.path << ": " << status;
    EXPECT_EQ(setting.print(config), samples.at(setting.path)) << setting.path;
  }
}

TEST(SettingsTest, EmptyTextTakesBackWhatAWeakerSourceSaidOrIsAnError) {
  const FakeHost host;
  const std::set<std::string_view> may_be_empty{"cache.bind",
                                                "cache.advertise",
                                                "cache.network_interface",
                                                "cache.unix_socket",
                                                "cache.storage",
                                                "cache.tls.cert_file",
                                                "cache.tls.key_file",
                                                "cache.tls.client_ca_file",
                                                "cache.tls.ca_file",
                                                "cache.log.level",
                                                "cache.log.file"};
  for (const Setting& setting : Settings()) {
    ServerConfig config;
    EXPECT_EQ(setting.parse("", host, &config).ok(), may_be_empty.contains(setting.path))
        << setting.path;
  }
}

}  // namespace
}  // namespace flame
