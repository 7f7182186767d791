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

TEST(EndpointTest, AnythingElseIsAnErrorThatRepeatsIt) {
  for (const char* url : {"", "grpc://", "grpc://:9090", "redis://cache",
                          "grpc+unix:///tmp/x", "grpc://a/b", "grpc://user@cache",
                          "grpc://cache:99999", "://cache", "grpc://[::1"}) {
    const auto endpoint = ParseEndpoint(url);
    ASSERT_FALSE(endpoint.ok()) << url;
    EXPECT_THAT(endpoint.status().message(), HasSubstr(url));
  }
}

}  // namespace
}  // namespace flame
