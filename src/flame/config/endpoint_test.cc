#include "flame/config/endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flame {
namespace {

using ::testing::HasSubstr;

TEST(EndpointTest, SchemeHostAndPortAreTaken) {
  const Endpoint endpoint = ParseEndpoint("grpc://flame-object-cache:9191").ValueOrDie();
  EXPECT_EQ(endpoint.scheme, "grpc");
  EXPECT_EQ(endpoint.host, "flame-object-cache");
  EXPECT_EQ(endpoint.port, 9191);
  EXPECT_FALSE(endpoint.tls());
}

TEST(EndpointTest, PortIs9090UnlessGiven) {
  EXPECT_EQ(ParseEndpoint("grpc://cache").ValueOrDie().port, 9090);
  EXPECT_EQ(ParseEndpoint("grpc://[fd00::2]/").ValueOrDie().port, 9090);
  EXPECT_EQ(ParseEndpoint("grpc://cache:0").ValueOrDie().port, 0);
}

TEST(EndpointTest, SchemeIsGrpcUnlessGiven) {
  EXPECT_EQ(FormatEndpoint(ParseEndpoint("127.0.0.1:9091").ValueOrDie()),
            "grpc://127.0.0.1:9091");
}

TEST(EndpointTest, D5_ClientsAreNeverToldHttp) {
  EXPECT_EQ(ParseEndpoint("http://127.0.0.1:9090").ValueOrDie().ClientScheme(), "grpc");
  EXPECT_EQ(ParseEndpoint("grpc+tcp://127.0.0.1").ValueOrDie().ClientScheme(), "grpc");
}

TEST(EndpointTest, D7_EveryTlsSchemeIsTls) {
  for (const char* url : {"grpcs://cache", "grpc+tls://cache", "https://cache"}) {
    EXPECT_TRUE(ParseEndpoint(url).ValueOrDie().tls()) << url;
    EXPECT_EQ(ParseEndpoint(url).ValueOrDie().ClientScheme(), "grpc+tls") << url;
  }
}

TEST(EndpointTest, UnixSocketsHaveAPath) {
  for (const char* url :
       {"unix:///run/flame/cache.sock", "grpc+unix:///run/flame/cache.sock"}) {
    const Endpoint endpoint = ParseEndpoint(url).ValueOrDie();
    EXPECT_TRUE(endpoint.is_unix());
    EXPECT_FALSE(endpoint.tls());
    EXPECT_EQ(endpoint.path, "/run/flame/cache.sock");
    EXPECT_EQ(endpoint.ClientScheme(), "grpc+unix");
    EXPECT_EQ(FormatEndpoint(endpoint), "grpc+unix:///run/flame/cache.sock");
  }
}

TEST(EndpointTest, SocketPathsAreAbsoluteAndPlain) {
  for (const char* path : {"", "tmp/x", "/", "/tmp/", "/a b", "/a%20b", "/a?b"}) {
    const auto endpoint = ParseEndpoint(std::string("unix://") + path);
    ASSERT_FALSE(endpoint.ok()) << path;
    EXPECT_THAT(endpoint.status().message(), HasSubstr(path));
  }
}

TEST(EndpointTest, SocketPathsFitIntoAnAddress) {
  const std::string longest = "/" + std::string(106, 'a');
  EXPECT_TRUE(ParseEndpoint("unix://" + longest).ok());
  const auto longer = ParseEndpoint("unix://" + longest + "a");
  EXPECT_THAT(longer.status().message(), HasSubstr("has 108 bytes"));
  EXPECT_THAT(longer.status().message(), HasSubstr("at most 107"));
}

TEST(EndpointTest, AnythingElseIsAnErrorThatRepeatsIt) {
  for (const char* url :
       {"", "grpc://", "grpc://:9090", "redis://cache", "grpc://a/b", "grpc://user@cache",
        "grpc://cache:99999", "://cache", "grpc://[::1"}) {
    const auto endpoint = ParseEndpoint(url);
    ASSERT_FALSE(endpoint.ok()) << url;
    EXPECT_THAT(endpoint.status().message(), HasSubstr(url));
  }
}

}  // namespace
}  // namespace flame
