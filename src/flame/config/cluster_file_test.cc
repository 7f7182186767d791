#include "flame/config/cluster_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::map<std::string, FileValue, std::less<>> Parsed(const std::string& text) {
  std::vector<std::string> warnings;
  auto values = ParseClusterFile(text, "f.yaml", &warnings);
  EXPECT_TRUE(values.ok()) << values.status();
  EXPECT_THAT(warnings, IsEmpty());
  return values.ok() ? *values : std::map<std::string, FileValue, std::less<>>();
}

std::string Error(const std::string& text) {
  std::vector<std::string> warnings;
  const auto values = ParseClusterFile(text, "f.yaml", &warnings);
  EXPECT_TRUE(IsError(values.status(), ErrorCode::kInvalid)) << text;
  return values.ok() ? "" : values.status().message();
}

TEST(ClusterFileTest, FileOfAnExistingDeploymentIsUnderstood) {
  const auto values = Parsed(R"(---
cluster:
  name: flame
  endpoint: "http://flame-session-manager:8080"
  resreq: "cpu=1,mem=1g,gpu=0"
  policies: [priority, drf]
  storage: sqlite:///var/lib/flame/sessions.db
  schedule_interval: 500
  executors: {shim: host, limits: {max_executors: 128}}
  limits: {max_sessions: 100}
  tls: {cert_file: /a, key_file: /b}
  recovery: {session: {retry_limits: 5}}
  pprof: {port: 6061}
executors:
  shim: host
applications:
  - name: flmrun
pprof:
  port: 6062
cache:
  endpoint: "grpc://flame-object-cache:9090"
  network_interface: "eth0"
  storage: "fs:///var/lib/flame/cache"
  eviction:
    policy: lru
    max_memory: 2G
    max_objects: 1000
  tls:
    cert_file: /c
    key_file: /k
    ca_file: /a
  pprof:
    port: 6060
)");
  EXPECT_EQ(values.size(), 9);
  EXPECT_EQ(values.at("cache.endpoint").text, "grpc://flame-object-cache:9090");
  EXPECT_EQ(values.at("cache.network_interface").text, "eth0");
  EXPECT_EQ(values.at("cache.eviction.max_objects").text, "1000");
  EXPECT_EQ(values.at("cache.eviction.max_objects").line, 27);
  EXPECT_EQ(values.at("cache.tls.ca_file").text, "/a");
}

TEST(ClusterFileTest, KeysWithoutAValueAreNotGiven) {
  EXPECT_THAT(Parsed("cache:\n  storage:\n  eviction:\n  tls: ~\n"), IsEmpty());
  EXPECT_THAT(Parsed("cache:\n"), IsEmpty());
  EXPECT_EQ(Parsed("cache: {storage: ''}").at("cache.storage").text, "");
}

TEST(ClusterFileTest, UnknownKeyIsAnErrorThatNamesTheNearestOne) {
  EXPECT_EQ(
      Error("cache:\n  endpoint: x\n  storge: none\n"),
      "f.yaml:3: unknown key 'cache.storge'; the nearest known one is 'cache.storage'");
  EXPECT_THAT(Error("cache: {eviction: {max_mem: 1G}}"),
              HasSubstr("the nearest known one is 'cache.eviction.max_memory'"));
  EXPECT_THAT(Error("cache: {evicton: {policy: lru}}"),
              HasSubstr("the nearest known one is 'cache.eviction'"));
  EXPECT_THAT(
      Error("cache: {}\nclutser: {}\n"),
      HasSubstr("f.yaml:2: unknown key 'clutser'; the nearest known one is 'cluster'"));
  EXPECT_THAT(Error("cache: {Storage: none}"), HasSubstr("'cache.storage'"));
}

TEST(ClusterFileTest, KeyInTheWrongSectionIsNamedWhereItBelongs) {
  EXPECT_THAT(Error("cache: {max_memory: 1G}"),
              HasSubstr("the nearest known one is 'cache.eviction.max_memory'"));
  EXPECT_THAT(Error("cache: {}\nstorage: none"),
              HasSubstr("the nearest known one is 'cache.storage'"));
}

TEST(ClusterFileTest, MissingCacheSectionIsAnErrorThatSaysWhatToAdd) {
  for (const char* text : {"", "# nothing\n", "cluster: {name: flame}\n"}) {
    EXPECT_THAT(
        Error(text),
        StartsWith("f.yaml: there is no 'cache' section; add one, for example\ncache:\n"))
        << text;
  }
}

TEST(ClusterFileTest, WrongShapesAreErrors) {
  EXPECT_THAT(Error("- a\n- b\n"),
              HasSubstr("f.yaml:1: the file must hold keys and values"));
  EXPECT_THAT(Error("cache: grpc://x\n"), HasSubstr("'cache' is a section"));
  EXPECT_THAT(Error("cache: {storage: [a, b]}\n"),
              HasSubstr("'cache.storage' takes a single value"));
  EXPECT_THAT(Error("cache: {eviction: lru}\n"),
              HasSubstr("'cache.eviction' is a section"));
  EXPECT_THAT(Error("cache: {? [a] : b}\n"), HasSubstr("is not a word"));
}

TEST(ClusterFileTest, KeyGivenTwiceIsAnError) {
  EXPECT_EQ(Error("cache:\n  storage: a\n  storage: b\n"),
            "f.yaml:3: 'cache.storage' is given twice");
}

TEST(ClusterFileTest, WhatIsNotYamlIsAnErrorWithItsLine) {
  EXPECT_THAT(Error("cache:\n  storage: [a\n"), StartsWith("f.yaml:"));
  EXPECT_THAT(Error("cache:\n\tstorage: a\n"), StartsWith("f.yaml:2: "));
}

TEST(ClusterFileTest, NewNameBeatsTheOldOne) {
  for (const char* text : {"cache: {capacity: 1G, eviction: {max_memory: 2G}}",
                           "cache: {eviction: {max_memory: 2G}, capacity: 1G}"}) {
    std::vector<std::string> warnings;
    const auto values = ParseClusterFile(text, "f.yaml", &warnings).ValueOrDie();
    EXPECT_EQ(values.at("cache.eviction.max_memory").text, "2G");
    EXPECT_EQ(warnings.size(), 1);
  }
}

}  // namespace
}  // namespace flame
