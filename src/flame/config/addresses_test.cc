#include "flame/config/addresses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/config/fake_host.h"
#include "flame/config/load.h"

namespace flame {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class AddressesTest : public ::testing::Test {
 protected:
  /// "bind -> advertised URL", or the error.
  std::string Resolved(const std::vector<std::string>& flags) {
    const Startup startup = LoadServerConfig(flags, "0", host_);
    if (const auto* exit = std::get_if<Exit>(&startup)) return exit->text;
    const auto& config = std::get<ServerConfig>(startup);
    warnings_ = config.warnings;
    return FormatHostPort(config.bind) + " -> " +
           config.AdvertisedUrl(config.bind.port == 0 ? 43210 : config.bind.port);
  }
  std::string WithFile(const std::string& text, std::vector<std::string> flags = {}) {
    host_.SetDefaultFile(text);
    return Resolved(flags);
  }

  FakeHost host_;
  std::vector<std::string> warnings_;
};

TEST_F(AddressesTest, EndpointsHostIsListenedOnAndAdvertised) {
  EXPECT_EQ(Resolved({"--endpoint", "grpc://10.0.0.5:9191"}),
            "10.0.0.5:9191 -> grpc://10.0.0.5:9191");
  EXPECT_EQ(Resolved({"--endpoint", "grpc://[fd00::5]:9191"}),
            "[fd00::5]:9191 -> grpc://[fd00::5]:9191");
  EXPECT_EQ(Resolved({"--endpoint", "grpc://localhost"}),
            "127.0.0.1:9090 -> grpc://localhost:9090");
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(AddressesTest, NameThatIsThisMachineIsListenedOnAndAdvertisedAsAName) {
  host_.names["flame-object-cache"] = {"fd00::5", "10.0.0.5"};
  EXPECT_EQ(Resolved({"--endpoint", "grpc://flame-object-cache:9090"}),
            "10.0.0.5:9090 -> grpc://flame-object-cache:9090");
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(AddressesTest, NameThatIsOnlyLoopbackIsAWarning) {
  host_.names["box"] = {"127.0.1.1"};
  EXPECT_EQ(Resolved({"--endpoint", "grpc://box:9090"}),
            "127.0.1.1:9090 -> grpc://box:9090");
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("only this machine can connect")));
}

TEST_F(AddressesTest, EndpointElsewhereIsAnErrorThatNamesBind) {
  host_.names["cache-service"] = {"10.96.0.1"};
  for (const char* endpoint :
       {"grpc://10.9.9.9:9090", "grpc://cache-service:9090", "grpc://nowhere:9090"}) {
    EXPECT_THAT(Resolved({"--endpoint", endpoint}),
                HasSubstr("say where with bind (0.0.0.0"))
        << endpoint;
  }
  EXPECT_THAT(Resolved({"--endpoint", "grpc://cache-service"}),
              HasSubstr("cache.endpoint: cannot listen there, 'cache-service' is "
                        "10.96.0.1, which is not this machine"));
}

TEST_F(AddressesTest, BindComesFirst) {
  EXPECT_EQ(Resolved({"--bind", "10.0.0.5", "--endpoint", "grpc://proxy:9090",
                      "--network-interface", "lo"}),
            "10.0.0.5:9090 -> grpc://127.0.0.1:9090");
  EXPECT_EQ(Resolved({"--bind", "0.0.0.0:9191", "--endpoint", "grpc://proxy:9090"}),
            "0.0.0.0:9191 -> grpc://proxy:9191");
  EXPECT_EQ(Resolved({"--bind", "localhost:1"}), "127.0.0.1:1 -> grpc://127.0.0.1:1");
  EXPECT_THAT(Resolved({"--bind", "nowhere"}),
              HasSubstr("cache.bind: cannot resolve 'nowhere'"));
}

TEST_F(AddressesTest, NetworkInterfaceComesBeforeTheEndpointsHost) {
  EXPECT_EQ(
      WithFile(
          "cache: {endpoint: 'grpc://flame-object-cache:9090', network_interface: eth0}"),
      "10.0.0.5:9090 -> grpc://10.0.0.5:9090");
  EXPECT_EQ(WithFile("cache: {endpoint: 'grpc://127.0.0.1:9090', network_interface: lo}"),
            "127.0.0.1:9090 -> grpc://127.0.0.1:9090");
}

TEST_F(AddressesTest, EndpointFlagBeatsTheFilesInterface) {
  const std::string file =
      "cache: {endpoint: 'grpc://flame-object-cache:9090', network_interface: eth0}";
  EXPECT_EQ(WithFile(file, {"--endpoint", "grpc://127.0.0.1:9191"}),
            "127.0.0.1:9191 -> grpc://127.0.0.1:9191");
  EXPECT_THAT(warnings_,
              ElementsAre(HasSubstr("is not used: --endpoint names the host")));
  EXPECT_EQ(WithFile(file, {"--endpoint", "grpc://127.0.0.1:9191", "--network-interface",
                            "eth0"}),
            "10.0.0.5:9191 -> grpc://10.0.0.5:9191");
}

TEST_F(AddressesTest, AdvertiseIsAHostAHostAndPortOrAUrl) {
  EXPECT_EQ(Resolved({"--advertise", "cache.example"}),
            "127.0.0.1:9090 -> grpc://cache.example:9090");
  EXPECT_EQ(Resolved({"--advertise", "cache.example:80"}),
            "127.0.0.1:9090 -> grpc://cache.example:80");
  EXPECT_EQ(Resolved({"--advertise", "http://cache.example:80"}),
            "127.0.0.1:9090 -> grpc://cache.example:80");
  EXPECT_EQ(Resolved({"--advertise", "[fd00::9]"}),
            "127.0.0.1:9090 -> grpc://[fd00::9]:9090");
  EXPECT_THAT(Resolved({"--advertise", "0.0.0.0"}),
              HasSubstr("cache.advertise: clients cannot connect to 0.0.0.0"));
}

TEST_F(AddressesTest, EveryAddressIsAdvertisedAsOneThatOthersCanReach) {
  EXPECT_EQ(Resolved({"--endpoint", "grpc://0.0.0.0:9090"}),
            "0.0.0.0:9090 -> grpc://10.0.0.5:9090");
  EXPECT_EQ(Resolved({"--endpoint", "grpc://[::]:9090"}),
            "[::]:9090 -> grpc://10.0.0.5:9090");
  EXPECT_EQ(Resolved({"--bind", "0.0.0.0"}), "0.0.0.0:9090 -> grpc://10.0.0.5:9090");
  EXPECT_EQ(Resolved({"--endpoint", "grpc://0.0.0.0:9090", "--bind", "127.0.0.1"}),
            "127.0.0.1:9090 -> grpc://127.0.0.1:9090");
  host_.interfaces.pop_back();
  EXPECT_EQ(Resolved({"--bind", "0.0.0.0"}), "0.0.0.0:9090 -> grpc://127.0.0.1:9090");
}

TEST_F(AddressesTest, AdvertisingLoopbackToOthersIsAWarning) {
  EXPECT_EQ(Resolved({"--endpoint", "grpc://127.0.0.1:9090", "--bind", "0.0.0.0"}),
            "0.0.0.0:9090 -> grpc://127.0.0.1:9090");
  EXPECT_THAT(warnings_,
              ElementsAre(HasSubstr("which only this machine can; set advertise")));
}

TEST_F(AddressesTest, PortZeroIsAdvertisedAsTheOneThatWasBound) {
  EXPECT_EQ(Resolved({"--endpoint", "grpc://127.0.0.1:0"}),
            "127.0.0.1:0 -> grpc://127.0.0.1:43210");
  EXPECT_EQ(Resolved({"--bind", "127.0.0.1:0"}), "127.0.0.1:0 -> grpc://127.0.0.1:43210");
  EXPECT_EQ(Resolved({"--bind", "127.0.0.1:0", "--advertise", "proxy:80"}),
            "127.0.0.1:0 -> grpc://proxy:80");
}

TEST_F(AddressesTest, D3_NoInterfaceIsNeededAndTheConfiguredHostCounts) {
  host_.interfaces = {};
  host_.AddInterface("lo", {"127.0.0.1"});
  host_.AddInterface("enp3s0", {"192.168.1.7"});
  EXPECT_EQ(WithFile("cache: {endpoint: 'grpc://127.0.0.1:9090'}"),
            "127.0.0.1:9090 -> grpc://127.0.0.1:9090");
  EXPECT_EQ(WithFile("cache: {endpoint: 'grpc://192.168.1.7:9090'}"),
            "192.168.1.7:9090 -> grpc://192.168.1.7:9090");
  EXPECT_EQ(WithFile("cache: {endpoint: 'grpc://0.0.0.0:9090'}"),
            "0.0.0.0:9090 -> grpc://192.168.1.7:9090");
}

TEST_F(AddressesTest, FileWithAnEndpointElsewhereMeansTheInterfaceThatFilesImply) {
  EXPECT_EQ(WithFile("cache: {endpoint: 'grpc://flame-object-cache:9090'}"),
            "10.0.0.5:9090 -> grpc://10.0.0.5:9090");
  EXPECT_THAT(warnings_,
              ElementsAre(HasSubstr("listening on 10.0.0.5, the address of eth0")));
  host_.interfaces.pop_back();
  EXPECT_THAT(WithFile("cache: {endpoint: 'grpc://flame-object-cache:9090'}"),
              HasSubstr("say where with bind"));
}

TEST_F(AddressesTest, D4_WholeMatchWinsThenTheKernelsOrder) {
  host_.interfaces = {};
  host_.AddInterface("veth0a", {"172.17.0.1"});
  host_.AddInterface("eth0", {"10.0.0.5"});
  host_.AddInterface("eth1", {"10.0.1.5"});
  EXPECT_EQ(Resolved({"--network-interface", "eth0"}),
            "10.0.0.5:9090 -> grpc://10.0.0.5:9090");
  EXPECT_EQ(Resolved({"--network-interface", "eth."}),
            "10.0.0.5:9090 -> grpc://10.0.0.5:9090");
  EXPECT_EQ(Resolved({"--network-interface", "th"}),
            "172.17.0.1:9090 -> grpc://172.17.0.1:9090");
  EXPECT_EQ(Resolved({"--network-interface", "th1"}),
            "10.0.1.5:9090 -> grpc://10.0.1.5:9090");
}

TEST_F(AddressesTest, D4_InterfaceWithIpv6OnlyWillDo) {
  host_.AddInterface("wg0", {"fe80::7", "fd00::7"});
  EXPECT_EQ(Resolved({"--network-interface", "wg0"}),
            "[fd00::7]:9090 -> grpc://[fd00::7]:9090");
}

TEST_F(AddressesTest, InterfaceThatIsNotThereIsAnErrorThatListsThoseThatAre) {
  host_.AddInterface("wg0", {});
  EXPECT_THAT(Resolved({"--network-interface", "wlan0"}),
              HasSubstr("no network interface with an address matches 'wlan0'; there "
                        "are: lo (127.0.0.1), eth0 (10.0.0.5), "
                        "wg0 (no address)"));
  EXPECT_THAT(Resolved({"--network-interface", "wg0"}), HasSubstr("matches 'wg0'"));
  EXPECT_THAT(Resolved({"--network-interface", "eth["}),
              HasSubstr("'eth[' is not a regular expression"));
}

}  // namespace
}  // namespace flame
