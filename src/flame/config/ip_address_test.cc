#include "flame/config/ip_address.h"

#include <gtest/gtest.h>

namespace flame {
namespace {

TEST(IpAddressTest, AddressesAreToldFromNames) {
  EXPECT_EQ(IpAddress::Parse("127.0.0.1")->text(), "127.0.0.1");
  EXPECT_EQ(IpAddress::Parse("0:0:0:0:0:0:0:1")->text(), "::1");
  for (const char* name :
       {"", "localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1", "[::1]", "fe80::1%eth0"}) {
    EXPECT_FALSE(IpAddress::Parse(name)) << name;
  }
}

TEST(IpAddressTest, KindsAreKnown) {
  EXPECT_TRUE(IpAddress::Parse("127.0.1.1")->is_loopback());
  EXPECT_TRUE(IpAddress::Parse("::1")->is_loopback());
  EXPECT_FALSE(IpAddress::Parse("10.0.0.1")->is_loopback());
  EXPECT_TRUE(IpAddress::Parse("0.0.0.0")->is_any());
  EXPECT_TRUE(IpAddress::Parse("::")->is_any());
  EXPECT_TRUE(IpAddress::Parse("fe80::1")->is_link_local());
  EXPECT_TRUE(IpAddress::Parse("169.254.1.1")->is_link_local());
  EXPECT_FALSE(IpAddress::Parse("fd00::2")->is_link_local());
}

TEST(HostPortTest, EveryFormIsReadAndWrittenBack) {
  struct Case {
    const char* text;
    const char* host;
    int port;
    const char* written;
  };
  for (const Case& c : {Case{"cache", "cache", -1, "cache"},
                        Case{"cache:9090", "cache", 9090, "cache:9090"},
                        Case{"10.0.0.1", "10.0.0.1", -1, "10.0.0.1"},
                        Case{"10.0.0.1:0", "10.0.0.1", 0, "10.0.0.1:0"},
                        Case{"::", "::", -1, "[::]"}, Case{"[::1]", "::1", -1, "[::1]"},
                        Case{"[::1]:9090", "::1", 9090, "[::1]:9090"}}) {
    const auto address = ParseHostPort(c.text);
    ASSERT_TRUE(address.ok()) << c.text << ": " << address.status();
    EXPECT_EQ(address->host, c.host) << c.text;
    EXPECT_EQ(address->port, c.port) << c.text;
    EXPECT_EQ(FormatHostPort(*address), c.written);
  }
}

TEST(HostPortTest, AnythingElseIsAnError) {
  for (const char* text : {"", ":9090", "cache:", "cache:x", "cache:65536", "cache:-1",
                           "cache:90 ", "a b", "a/b", "user@cache", "[::1", "[::1]9090",
                           "[cache]:1", "[127.0.0.1]:1", "fd00::2:x", "a:1:2"}) {
    EXPECT_FALSE(ParseHostPort(text).ok()) << text;
  }
}

}  // namespace
}  // namespace flame
