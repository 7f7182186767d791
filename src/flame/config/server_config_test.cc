// The promises of loading as a whole; each part has its own test.
#include "flame/config/server_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/config/fake_host.h"
#include "flame/config/load.h"

namespace flame {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using Arguments = std::vector<std::string>;
using Kind = ValueSource::Kind;

class ServerConfigTest : public ::testing::Test {
 protected:
  Startup Start(const Arguments& arguments = {}) {
    return LoadServerConfig(arguments, "1.2.3", host_);
  }

  ServerConfig Load(const Arguments& arguments = {}) {
    const Startup startup = Start(arguments);
    if (const auto* exit = std::get_if<Exit>(&startup)) {
      ADD_FAILURE() << exit->text;
      return {};
    }
    return std::get<ServerConfig>(startup);
  }

  Exit ExitOf(const Arguments& arguments = {}) {
    const Startup startup = Start(arguments);
    const auto* exit = std::get_if<Exit>(&startup);
    EXPECT_NE(exit, nullptr) << "no exit";
    return exit == nullptr ? Exit{} : *exit;
  }

  /// The text of a configuration error.
  std::string Error(const Arguments& arguments = {}) {
    const Exit exit = ExitOf(arguments);
    EXPECT_EQ(exit.code, 1);
    EXPECT_THAT(exit.text, StartsWith("Error: "));
    return exit.text;
  }

  FakeHost host_;
};

TEST_F(ServerConfigTest, UnixSocketIsListenedOnAndAdvertised) {
  const ServerConfig config = Load({"--endpoint", "unix:///run/flame/cache.sock"});
  EXPECT_FALSE(config.ListensOnTcp());
  EXPECT_EQ(config.SocketPath(), "/run/flame/cache.sock");
  EXPECT_EQ(config.AdvertisedUrl(-1), "grpc+unix:///run/flame/cache.sock");
  EXPECT_THAT(config.warnings, IsEmpty());
}

TEST_F(ServerConfigTest, UnixSocketBesideAnAddressIsNotAdvertised) {
  const ServerConfig config = Load({"--unix-socket", "/run/flame/cache.sock"});
  EXPECT_TRUE(config.ListensOnTcp());
  EXPECT_EQ(config.SocketPath(), "/run/flame/cache.sock");
  EXPECT_EQ(config.AdvertisedUrl(9090), "grpc://127.0.0.1:9090");
}

TEST_F(ServerConfigTest, UnixSocketCanBeReachedByAnAddressOfAProxy) {
  const ServerConfig config =
      Load({"--endpoint", "unix:///run/x.sock", "--advertise", "proxy:80"});
  EXPECT_EQ(config.AdvertisedUrl(-1), "grpc://proxy:80");
}

TEST_F(ServerConfigTest, AddressCanBeReachedByASocketOfAProxy) {
  const ServerConfig config = Load({"--advertise", "unix:///run/x.sock"});
  EXPECT_EQ(config.AdvertisedUrl(9090), "grpc+unix:///run/x.sock");
}

TEST_F(ServerConfigTest, AddressesOfTheFileDoNotMatterToAUnixSocket) {
  host_.SetDefaultFile("cache: {bind: 0.0.0.0, network_interface: eth7}");
  const ServerConfig config = Load({"--endpoint", "unix:///run/x.sock"});
  ASSERT_EQ(config.warnings.size(), 2U);
  EXPECT_THAT(config.warnings[0], HasSubstr("bind"));
  EXPECT_THAT(config.warnings[1], HasSubstr("network_interface"));
  EXPECT_EQ(config.bind, HostPort());
}

TEST_F(ServerConfigTest, TwoUnixSocketsAreOneTooMany) {
  EXPECT_THAT(Error({"--endpoint", "unix:///a", "--unix-socket", "/b"}),
              HasSubstr("cache.unix_socket is /b"));
}

TEST_F(ServerConfigTest, IdleServersStayUnlessToldOtherwise) {
  EXPECT_EQ(Load().exit_when_idle.count(), 0);
  EXPECT_EQ(Load({"--exit-when-idle", "never"}).exit_when_idle.count(), 0);
  EXPECT_EQ(Load({"--exit-when-idle", "5s"}).exit_when_idle.count(), 5000);
}

TEST_F(ServerConfigTest, DefaultsWithoutAFileAreOurs) {
  const ServerConfig config = Load();
  EXPECT_EQ(FormatEndpoint(config.endpoint), "grpc://127.0.0.1:9090");
  EXPECT_EQ(FormatHostPort(config.bind), "127.0.0.1:9090");
  EXPECT_EQ(config.AdvertisedUrl(9090), "grpc://127.0.0.1:9090");
  EXPECT_EQ(FormatStorageUrl(config.storage), "fs:///home/ann/.local/share/flame/cache");
  EXPECT_EQ(config.network_interface, "");
  EXPECT_EQ(config.sync, ServerConfig::Sync::kNever);
  EXPECT_EQ(config.pack_below, 65536);
  EXPECT_EQ(config.patches_max, 1000);
  EXPECT_EQ(config.tombstones_max, 100'000);
  EXPECT_EQ(config.tombstone_age, std::chrono::hours(24));
  EXPECT_EQ(config.limits.in_flight, int64_t{2} << 30) << "a quarter of the memory";
  EXPECT_EQ(config.eviction.max_memory, int64_t{4} << 30) << "half of the memory";
  EXPECT_EQ(config.log.level, spdlog::level::info);
  EXPECT_EQ(config.drain_timeout, std::chrono::seconds(10));
  EXPECT_THAT(config.warnings, IsEmpty());
}

TEST_F(ServerConfigTest, DefaultsWithAFileAreThoseOfExistingDeployments) {
  host_.SetDefaultFile(
      "cluster: {name: flame, endpoint: 'http://fsm:8080'}\ncache: {}\n");
  const ServerConfig config = Load();
  EXPECT_EQ(config.AdvertisedUrl(9090), "grpc://127.0.0.1:9090");
  EXPECT_EQ(config.storage.kind, StorageUrl::Kind::kNone);
  EXPECT_EQ(config.eviction.policy, ServerConfig::Eviction::Policy::kLru);
  EXPECT_EQ(config.eviction.max_memory, 1 << 30);
  EXPECT_EQ(config.eviction.max_objects, std::nullopt);
}

TEST_F(ServerConfigTest, EndpointFlagWorksAsWritten) {
  const ServerConfig config = Load({"--endpoint", "grpc://127.0.0.1:9090"});
  EXPECT_EQ(FormatHostPort(config.bind), "127.0.0.1:9090");
  EXPECT_EQ(config.AdvertisedUrl(9090), "grpc://127.0.0.1:9090");
}

TEST_F(ServerConfigTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  EXPECT_EQ(Load().SourceOf("cache.storage").ToString(), "default");

  host_.files["/etc/cluster.yaml"] =
      "cache:\n  endpoint: grpc://127.0.0.1:1\n  storage: fs:///from/file\n";
  const Arguments file{"-c", "/etc/cluster.yaml"};
  EXPECT_EQ(Load(file).storage.path, "/from/file");
  EXPECT_EQ(Load(file).SourceOf("cache.storage").ToString(), "from /etc/cluster.yaml:3");

  host_.env["FLAME_CACHE_STORAGE"] = "/from/env";
  EXPECT_EQ(Load(file).storage.path, "/from/env");
  EXPECT_EQ(Load(file).SourceOf("cache.storage").ToString(),
            "from env FLAME_CACHE_STORAGE");

  const Arguments flag{"-c", "/etc/cluster.yaml", "--storage=/from/flag"};
  EXPECT_EQ(Load(flag).storage.path, "/from/flag");
  EXPECT_EQ(Load(flag).SourceOf("cache.storage").ToString(), "from flag --storage");
  EXPECT_EQ(Load(flag).endpoint.port, 1) << "the other values of the file stay";
}

TEST_F(ServerConfigTest, EmptyVariableIsNoVariable) {
  host_.SetDefaultFile("cache: {storage: /data}");
  host_.env["FLAME_CACHE_STORAGE"] = "";
  EXPECT_EQ(Load().storage.path, "/data");
}

TEST_F(ServerConfigTest, ValuesThatLoseAreCheckedAllTheSame) {
  host_.env["FLAME_CACHE_MAX_MEMORY"] = "lots";
  EXPECT_THAT(Error({"--max-memory", "1G"}),
              HasSubstr("FLAME_CACHE_MAX_MEMORY: 'lots' is not a size"));
}

TEST_F(ServerConfigTest, ErrorsNameWhereTheValueStands) {
  host_.SetDefaultFile("cache:\n  pack_below: 1X\n");
  EXPECT_THAT(Error(), HasSubstr("Error: /home/ann/.flame/flame-cluster.yaml:2: "
                                 "cache.pack_below: '1X' is not a size"));
  host_.files.clear();
  EXPECT_THAT(Error({"--sync", "maybe"}),
              HasSubstr("Error: --sync: 'maybe' is not known; it is never or always"));
}

TEST_F(ServerConfigTest, HelpAndVersionExitWithTheirText) {
  EXPECT_EQ(ExitOf({"--version"}).text, "flame-object-cache 1.2.3\n");
  EXPECT_EQ(ExitOf({"-V"}).code, 0);
  EXPECT_EQ(ExitOf({"--help"}).code, 0);
  EXPECT_THAT(ExitOf({"-h"}).text, StartsWith("flame-object-cache 1.2.3"));
}

TEST_F(ServerConfigTest, D11_HelpAndVersionLookAtNothing) {
  host_.SetDefaultFile("this is: [no configuration");
  host_.env["FLAME_CACHE_MAX_MEMORY"] = "lots";
  EXPECT_EQ(ExitOf({"--help"}).code, 0);
  EXPECT_EQ(ExitOf({"--version"}).code, 0);
}

TEST_F(ServerConfigTest, UnknownFlagExitsWithTwoAndNamesTheNearest) {
  const Exit exit = ExitOf({"--storge", "none"});
  EXPECT_EQ(exit.code, 2);
  EXPECT_THAT(
      exit.text,
      StartsWith(
          "Error: unknown option '--storge'; the nearest known one is '--storage'\n"));
}

TEST_F(ServerConfigTest, D6_DefaultFileIsThatOfTheUserWhoRunsIt) {
  host_.files["/home/bob/.flame/flame-cluster.yaml"] = "cache: {storage: /bobs}";
  EXPECT_NE(Load().storage.path, "/bobs");
  host_.env["HOME"] = "/home/bob";
  EXPECT_EQ(Load().storage.path, "/bobs");
}

TEST_F(ServerConfigTest, MissingDefaultFileIsFineAMissingNamedOneIsNot) {
  Load();
  EXPECT_THAT(Error({"-c", "/no/such.yaml"}),
              HasSubstr("the configuration file '/no/such.yaml' is not there"));
}

TEST_F(ServerConfigTest, NamedFileIsReadInsteadOfTheDefaultOne) {
  host_.SetDefaultFile("broken: [");
  host_.files["other.yaml"] = "cache: {storage: /other}";
  EXPECT_EQ(Load({"--config", "other.yaml"}).storage.path, "/other");
}

TEST_F(ServerConfigTest, D8_UnknownEvictionPolicyIsAnErrorWhereverItStands) {
  const std::string message = "'lfu' is not known; it is lru or s3fifo or none";
  EXPECT_THAT(Error({"--eviction-policy", "lfu"}), HasSubstr(message));
  host_.SetDefaultFile("cache: {eviction: {policy: lfu}}");
  EXPECT_THAT(Error(), HasSubstr(message));
  host_.files.clear();
  host_.env["FLAME_CACHE_EVICTION_POLICY"] = "lfu";
  EXPECT_THAT(Error(), HasSubstr(message));
}

TEST_F(ServerConfigTest, D8_BadEvictionNumbersFromTheEnvironmentAreErrors) {
  host_.env["FLAME_CACHE_MAX_MEMORY"] = "1.5";
  EXPECT_THAT(Error(), HasSubstr("FLAME_CACHE_MAX_MEMORY: '1.5' is not a size"));
  host_.env = {{"HOME", "/home/ann"}, {"FLAME_CACHE_MAX_OBJECTS", "-1"}};
  EXPECT_THAT(Error(), HasSubstr("FLAME_CACHE_MAX_OBJECTS: '-1' is not a whole number"));
}

TEST_F(ServerConfigTest, EvictionIsUnderstoodFromEverySource) {
  host_.SetDefaultFile(
      "cache: {eviction: {policy: none, max_memory: 512M, max_objects: 7}}");
  ServerConfig config = Load();
  EXPECT_EQ(config.eviction.policy, ServerConfig::Eviction::Policy::kNone);
  EXPECT_EQ(config.eviction.max_memory, 512 << 20);
  EXPECT_EQ(config.eviction.max_objects, 7);
  EXPECT_TRUE(config.IsGiven("cache.eviction.max_memory"));

  host_.env.insert(
      {{"FLAME_CACHE_EVICTION_POLICY", "LRU"}, {"FLAME_CACHE_MAX_MEMORY", "0"}});
  config = Load({"--max-objects", "9"});
  EXPECT_EQ(config.eviction.policy, ServerConfig::Eviction::Policy::kLru);
  EXPECT_EQ(config.eviction.max_memory, 0);
  EXPECT_EQ(config.eviction.max_objects, 9);

  config = Load({"--eviction-policy", "s3fifo"});
  EXPECT_EQ(config.eviction.policy, ServerConfig::Eviction::Policy::kS3Fifo);

  EXPECT_FALSE(ServerConfig().IsGiven("cache.eviction.max_memory"));
}

TEST_F(ServerConfigTest, D1_LimitIsExactlyWhatWasWritten) {
  host_.SetDefaultFile("cache: {eviction: {max_memory: 8G}}");
  EXPECT_EQ(Load().eviction.max_memory, 8'589'934'592);
}

TEST_F(ServerConfigTest, SizeMayBeABareYamlNumber) {
  host_.SetDefaultFile("cache: {eviction: {max_memory: 1048576}}");
  EXPECT_EQ(Load().eviction.max_memory, 1 << 20);
}

TEST_F(ServerConfigTest, D13_CapacityOfOlderDocumentsIsMaxMemoryWithAWarning) {
  host_.SetDefaultFile("cache:\n  capacity: 2G\n");
  const ServerConfig config = Load();
  EXPECT_EQ(config.eviction.max_memory, int64_t{2} << 30);
  EXPECT_THAT(
      config.warnings,
      ElementsAre(
          "/home/ann/.flame/flame-cluster.yaml:2: 'cache.capacity' is an old name; "
          "write 'cache.eviction.max_memory'"));

  host_.files.clear();
  host_.env["FLAME_CACHE_CAPACITY"] = "3G";
  EXPECT_EQ(Load().eviction.max_memory, int64_t{3} << 30);
  host_.env["FLAME_CACHE_MAX_MEMORY"] = "4G";
  EXPECT_EQ(Load().eviction.max_memory, int64_t{4} << 30);
}

TEST_F(ServerConfigTest, D7_TlsEndpointIsAnErrorAndNeverAPlaintextServer) {
  for (const char* endpoint : {"grpcs://127.0.0.1:9090", "grpc+tls://127.0.0.1:9090",
                               "https://127.0.0.1:9090"}) {
    EXPECT_THAT(Error({"--endpoint", endpoint}), HasSubstr("needs a certificate"))
        << endpoint;
  }
  EXPECT_THAT(Error({"--advertise", "grpcs://cache:443"}),
              HasSubstr("both must be with TLS or both without"));
  const std::vector<std::string> tls{"--endpoint",      "grpcs://127.0.0.1:9090",
                                     "--tls-cert-file", "/c",
                                     "--tls-key-file",  "/k"};
  auto arguments = tls;
  arguments.insert(arguments.end(), {"--advertise", "grpc://127.0.0.1:9090"});
  EXPECT_THAT(Error(arguments), HasSubstr("both must be with TLS or both without"));
  arguments = tls;
  arguments.insert(arguments.end(), {"--advertise", "localhost"});
  EXPECT_EQ(Load(arguments).AdvertisedUrl(9090), "grpc+tls://localhost:9090");
  EXPECT_THAT(Load(arguments).warnings, IsEmpty());
}

TEST_F(ServerConfigTest, TlsSectionWithoutATlsEndpointIsAWarning) {
  host_.SetDefaultFile(
      "cache: {endpoint: 'grpc://127.0.0.1', tls: {cert_file: /c, key_file: /k, ca_file: "
      "/a}}");
  const ServerConfig config = Load();
  EXPECT_EQ(config.tls.cert_file, "/c");
  EXPECT_EQ(config.tls.key_file, "/k");
  EXPECT_EQ(config.tls.ca_file, "/a");
  EXPECT_THAT(config.warnings, ElementsAre(HasSubstr("cache.tls has no effect")));
}

TEST_F(ServerConfigTest, CompressionThatMakesNoSenseIsAnError) {
  EXPECT_THAT(Error({"--compression", "gzip"}),
              HasSubstr("'gzip' is not known; it is none or lz4 or zstd"));
  for (const char* gain : {"1", "-0.1", "10%", "nan", ""}) {
    EXPECT_THAT(Error({"--compression-min-gain", gain}),
                HasSubstr("is not a share from 0 to below 1"));
  }
}

TEST_F(ServerConfigTest, HalfATlsSectionIsAnError) {
  EXPECT_THAT(Error({"--tls-cert-file", "/c"}),
              HasSubstr("cache.tls needs both cert_file and key_file"));
}

TEST_F(ServerConfigTest, FlameLogBeatsRustLog) {
  host_.env["RUST_LOG"] = "trace";
  EXPECT_EQ(Load().log.level, spdlog::level::trace);
  EXPECT_EQ(Load().SourceOf("cache.log.level").where, "RUST_LOG");
  host_.env["FLAME_LOG"] = "warn";
  EXPECT_EQ(Load().log.level, spdlog::level::warn);
  EXPECT_EQ(Load({"--log-level", "error"}).log.level, spdlog::level::err);
}

TEST_F(ServerConfigTest, LogFilterOfAWeakerSourceLeavesNothingBehind) {
  host_.SetDefaultFile("cache: {log: {level: 'warn,rocksdb=trace'}}");
  EXPECT_EQ(Load().log.targets.count("rocksdb"), 1);
  host_.env["RUST_LOG"] = "flame_cache=debug,h2=trace";
  const ServerConfig config = Load();
  EXPECT_EQ(config.log.level, spdlog::level::info);
  EXPECT_EQ(config.log.targets.count("rocksdb"), 0);
  EXPECT_EQ(config.log.targets.at("flame"), spdlog::level::debug);
}

TEST_F(ServerConfigTest, RustLogForOtherProgramsDoesNotStopUsFlameLogDoes) {
  host_.env["RUST_LOG"] = "hyper";
  const ServerConfig config = Load();
  EXPECT_EQ(config.log.level, spdlog::level::info);
  EXPECT_EQ(config.SourceOf("cache.log.level").kind, Kind::kDefault);
  EXPECT_THAT(config.warnings,
              ElementsAre(StartsWith("RUST_LOG: 'hyper' is not a log level")));
  host_.env["FLAME_LOG"] = "hyper";
  EXPECT_THAT(Error(), HasSubstr("FLAME_LOG: 'hyper' is not a log level"));
}

TEST_F(ServerConfigTest, LogFormatAndFileAreTaken) {
  host_.env["FLAME_LOG_FORMAT"] = "json";
  const ServerConfig config = Load({"--log-file", "/var/log/cache.log"});
  EXPECT_EQ(config.log.format, LogFormat::kJson);
  EXPECT_EQ(config.log.file, "/var/log/cache.log");
}

TEST_F(ServerConfigTest, DefaultStorageIsTheUsersDataFolder) {
  host_.env["XDG_DATA_HOME"] = "/data/ann";
  EXPECT_EQ(Load().storage.path, "/data/ann/flame/cache");
  host_.env["XDG_DATA_HOME"] = "relative";
  EXPECT_EQ(Load().storage.path, "/home/ann/.local/share/flame/cache");
  host_.env.clear();
  EXPECT_EQ(Load().storage.path, "/var/lib/flame/cache");
}

TEST_F(ServerConfigTest, RelativeStorageUrlLiesBelowFlameHome) {
  EXPECT_EQ(Load({"--storage", "fs://data"}).storage.path, "/var/lib/flame/data");
  host_.env["FLAME_HOME"] = "/opt/flame";
  EXPECT_EQ(Load({"--storage", "fs://data"}).storage.path, "/opt/flame/data");
  EXPECT_EQ(Load({"--storage", "data"}).storage.path, "/here/data");
}

TEST_F(ServerConfigTest, D9_StorageVariableThatClientsTakeAsAPathIsAPathHereToo) {
  host_.env["FLAME_CACHE_STORAGE"] = "/shared/cache";
  EXPECT_EQ(FormatStorageUrl(Load().storage), "fs:///shared/cache");
}

TEST_F(ServerConfigTest, RuntimeFolderIsTheFirstThatCanBe) {
  EXPECT_EQ(Load().runtime_dir, "/tmp/flame-1000");
  host_.writable = "/run/flame";
  EXPECT_EQ(Load().runtime_dir, "/run/flame");
  host_.env["XDG_RUNTIME_DIR"] = "/run/user/1000";
  EXPECT_EQ(Load().runtime_dir, "/run/user/1000/flame");
  EXPECT_EQ(Load({"--runtime-dir", "here"}).runtime_dir, "/here/here");
}

TEST_F(ServerConfigTest, NumbersThatCannotWorkAreErrors) {
  EXPECT_THAT(Error({"--limits-in-flight", "0"}),
              HasSubstr("cache.limits.in_flight must be more than 0"));
  EXPECT_THAT(Error({"--patches-max", "0"}),
              HasSubstr("cache.patches_max must be from 1 to 1000000"));
  EXPECT_EQ(Load({"--pack-below", "0"}).pack_below, 0);
}

TEST_F(ServerConfigTest, MoreThanFitsIsTakenAsAllThatFits) {
  EXPECT_EQ(Load({"--max-memory", "18446744073709551615"}).eviction.max_memory,
            std::numeric_limits<int64_t>::max());
}

TEST_F(ServerConfigTest, D10_OtherProgramsSectionsAreNotValidated) {
  host_.SetDefaultFile(R"(
cluster: {resreq: nonsense, executors: {shim: what}, limits: 5}
executors: [1, 2]
pprof: {port: x}
cache: {pprof: {port: 6060}, storage: none}
)");
  EXPECT_THAT(Load().warnings, IsEmpty());
}

TEST_F(ServerConfigTest, EverySettingHasASource) {
  for (const auto& [path, source] : Load().sources)
    EXPECT_THAT(source.ToString(), Not(IsEmpty())) << path;
}

TEST_F(ServerConfigTest, HttpIsOnLoopbackUnlessSaidOtherwise) {
  const ServerConfig usual = Load();
  EXPECT_EQ(FormatHostPort(usual.http.bind), "127.0.0.1:9092");
  EXPECT_FALSE(usual.IsGiven("cache.http.endpoint"));
  EXPECT_EQ(Load({"--http-endpoint", "off"}).http.endpoint, std::nullopt);
  const ServerConfig given = Load({"--metrics-listen", "localhost:0"});
  EXPECT_EQ(FormatHostPort(given.http.bind), "127.0.0.1:0");
  EXPECT_TRUE(given.IsGiven("cache.http.endpoint"));
  EXPECT_EQ(FormatHostPort(Load({"--http-endpoint", "0.0.0.0"}).http.bind),
            "0.0.0.0:9092");
  for (const char* bad :
       {"https://127.0.0.1", "grpc://127.0.0.1", "", "of f", "192.0.2.x"})
    EXPECT_THAT(Error({"--http-endpoint", bad}), HasSubstr("http")) << bad;
}

TEST_F(ServerConfigTest, LimitsMustMakeSense) {
  const ServerConfig config =
      Load({"--limits-in-flight", "1M", "--limits-object", "512K"});
  EXPECT_EQ(config.limits.object, 512 << 10);
  EXPECT_EQ(Load().limits.object, std::nullopt);
  EXPECT_THAT(Error({"--limits-in-flight", "1M", "--limits-object", "2M"}),
              HasSubstr("cache.limits.object"));
  EXPECT_THAT(Error({"--limits-streams", "0"}), HasSubstr("cache.limits.streams"));
  EXPECT_THAT(Error({"--limits-list-bytes", "1K"}),
              HasSubstr("cache.limits.list_bytes must be 4096 or more"));
}

}  // namespace
}  // namespace flame
