#include "flame/config/manager_config.h"

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/config/fake_host.h"

namespace flame {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ManagerConfigTest : public ::testing::Test {
 protected:
  ManagerConfig Load(const std::vector<std::string>& arguments = {}) {
    ManagerStartup startup = LoadManagerConfig(arguments, "1.0", host_);
    if (const auto* exit = std::get_if<Exit>(&startup)) {
      ADD_FAILURE() << exit->text;
      return {};
    }
    return std::get<ManagerConfig>(startup);
  }
  Exit Refused(const std::vector<std::string>& arguments = {}) {
    ManagerStartup startup = LoadManagerConfig(arguments, "1.0", host_);
    if (const auto* exit = std::get_if<Exit>(&startup)) return *exit;
    ADD_FAILURE() << "it was taken";
    return {};
  }

  FakeHost host_;
};

TEST_F(ManagerConfigTest, Defaults) {
  const ManagerConfig config = Load();
  EXPECT_EQ(FormatEndpoint(config.endpoint), "http://127.0.0.1:8080");
  EXPECT_EQ(config.storage.kind, StorageUrl::Kind::kNone);
  EXPECT_EQ(config.instance.memory, uint64_t{1} << 30);
  EXPECT_EQ(config.retry_limit, 5);
}

TEST_F(ManagerConfigTest, FlagBeatsVariableBeatsFile) {
  host_.SetDefaultFile(
      "cluster:\n  endpoint: http://127.0.0.1:1\n  storage: fs:///f\n"
      "  limits: {max_sessions: 3, max_executors: 7}\n");
  host_.env["FLAME_SESSION_STORAGE"] = "fs:///v";
  host_.env["FLAME_SESSION_MAX_SESSIONS"] = "4";
  const ManagerConfig config = Load({"--max-sessions", "5"});
  EXPECT_EQ(config.endpoint.port, 1);
  EXPECT_EQ(config.storage.path, "/v");
  EXPECT_EQ(config.max_sessions, 5);
  EXPECT_EQ(config.max_executors, 7);
}

TEST_F(ManagerConfigTest, FileOfTheExistingServerIsTaken) {
  host_.SetDefaultFile(R"(
cluster:
  name: flame
  endpoint: "http://127.0.0.1:8080"
  resreq: "cpu=2,mem=512m,gpu=1"
  policies: [priority, drf]
  storage: none
  schedule_interval: 250
  executors:
    shim: host
  limits:
    max_sessions: 10
    max_executors: 128
  tls:
    ca_file: /etc/ca.pem
  recovery:
    session:
      retry_limits: 2
  pprof:
    port: 6060
cache:
  endpoint: "grpc://127.0.0.1:9090"
  whatever: else
)");
  const ManagerConfig config = Load();
  EXPECT_EQ(config.instance.cpu, 2U);
  EXPECT_EQ(config.instance.memory, uint64_t{512} << 20);
  EXPECT_EQ(config.instance.gpu, 1U);
  EXPECT_EQ(config.schedule_interval, std::chrono::milliseconds(250));
  EXPECT_EQ(config.retry_limit, 2);
  EXPECT_EQ(config.ca_file, "/etc/ca.pem");
  EXPECT_EQ(config.cache_endpoint, "grpc://127.0.0.1:9090");
}

TEST_F(ManagerConfigTest, MistakesAreNamed) {
  host_.SetDefaultFile("cluster:\n  storrage: none\n");
  EXPECT_EQ(Refused().code, 1);
  EXPECT_THAT(Refused().text, HasSubstr("flame-cluster.yaml:2: unknown key "
                                        "'cluster.storrage'; the nearest known one is "
                                        "'cluster.storage'"));
  host_.SetDefaultFile("cluster:\n  storage: [a]\n");
  EXPECT_THAT(Refused().text, HasSubstr("'cluster.storage' takes a single value"));
  host_.SetDefaultFile("cluster:\n  storage: sqlite:///x\n");
  EXPECT_THAT(Refused().text, HasSubstr("cluster.storage"));
  host_.files.clear();
  EXPECT_EQ(Refused({"--storrage", "x"}).code, 2);
  EXPECT_THAT(Refused({"--storrage", "x"}).text, HasSubstr("'--storage'"));
  EXPECT_EQ(Refused({"--overcommit", "0.5"}).code, 1);
  EXPECT_THAT(Refused({"--endpoint", "https://127.0.0.1:1"}).text,
              HasSubstr("cluster.tls.cert_file"));
  EXPECT_THAT(Refused({"--config", "/none"}).text, HasSubstr("is not there"));
}

TEST_F(ManagerConfigTest, HelpAndVersionAreNoErrors) {
  EXPECT_EQ(Refused({"--help"}).code, 0);
  EXPECT_THAT(Refused({"--help"}).text, HasSubstr("--retry-limit COUNT"));
  EXPECT_EQ(Refused({"--version"}).text, "flame-session-manager 1.0\n");
}

TEST_F(ManagerConfigTest, NamesToPassOn) {
  EXPECT_THAT(Load({"--pass-environment", "A,,B"}).pass_environment,
              ElementsAre("A", "B"));
}

TEST(ParseDemandTest, TakesPartsInAnyOrder) {
  ASSERT_OK_AND_ASSIGN(const auto demand, ParseDemand("gpu=2,cpu=3"));
  EXPECT_EQ(demand.cpu, 3U);
  EXPECT_EQ(demand.memory, uint64_t{1} << 30);
  EXPECT_EQ(demand.gpu, 2U);
  for (const char* text : {"cpu", "cpu=1,cpu=2", "disk=1", "cpu=x", "cpu=1;mem=1"})
    EXPECT_FALSE(ParseDemand(text).ok()) << text;
}

TEST_F(ManagerConfigTest, PrintedConfigurationIsAFileThatSaysTheSame) {
  host_.env["FLAME_SESSION_MAX_SESSIONS"] = "4";
  const Exit printed =
      Refused({"--print-config", "--python", "/opt/py thon", "--storage", "fs:///s"});
  EXPECT_EQ(printed.code, 0);
  EXPECT_THAT(printed.text, HasSubstr("# --python"));
  EXPECT_THAT(printed.text, HasSubstr("# FLAME_SESSION_MAX_SESSIONS"));
  EXPECT_THAT(printed.text, HasSubstr("# max_executors: no limit"));
  host_.env.erase("FLAME_SESSION_MAX_SESSIONS");
  host_.SetDefaultFile(printed.text);
  const ManagerConfig config = Load();
  EXPECT_EQ(config.python, "/opt/py thon");
  EXPECT_EQ(config.storage.path, "/s");
  EXPECT_EQ(config.max_sessions, 4);
}

}  // namespace
}  // namespace flame
