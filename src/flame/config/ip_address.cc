#include "flame/config/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {
namespace {

std::optional<int> ParsePort(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port < 0 ||
      port > 65535)
    return std::nullopt;
  return port;
}

bool IsHostName(std::string_view text) {
  return !text.empty() && text.size() <= 253 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '-' || c == '.' || c == '_';
         });
}

arrow::Status BadHostPort(std::string_view text, std::string_view why) {
  return InvalidError(fmt::format("'{}' is not HOST or HOST:PORT: {}", text, why));
}

}  // namespace

std::optional<IpAddress> IpAddress::Parse(std::string_view text) {
  const std::string terminated(text);
  for (const int family : {AF_INET, AF_INET6}) {
    unsigned char bytes[sizeof(in6_addr)];
    char usual[INET6_ADDRSTRLEN];
    if (inet_pton(family, terminated.c_str(), bytes) == 1 &&
        inet_ntop(family, bytes, usual, sizeof usual)) {
      return IpAddress(usual);
    }
  }
  return std::nullopt;
}

bool IpAddress::is_loopback() const {
  return text_ == "::1" || text_.rfind("127.", 0) == 0;
}

bool IpAddress::is_link_local() const {
  in6_addr address{};
  if (inet_pton(AF_INET6, text_.c_str(), &address) == 1)
    return IN6_IS_ADDR_LINKLOCAL(&address);
  return text_.rfind("169.254.", 0) == 0;
}

arrow::Result<HostPort> ParseHostPort(std::string_view text) {
  if (const auto address = IpAddress::Parse(text)) return HostPort{address->text(), -1};

  HostPort result;
  std::string_view host = text;
  std::string_view port;
  if (!text.empty() && text.front() == '[') {
    const size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) return BadHostPort(text, "']' is missing");
    const auto address = IpAddress::Parse(text.substr(1, bracket - 1));
    if (!address || !address->is_v6())
      return BadHostPort(text, "no IPv6 address is in the brackets");
    result.host = address->text();
    host = {};
    port = text.substr(bracket + 1);
  } else {
    const size_t colon = std::min(text.find(':'), text.size());
    host = text.substr(0, colon);
    port = text.substr(colon);
    if (host.empty()) return BadHostPort(text, "the host is missing");
    if (port.find(':', 1) != std::string_view::npos)
      return BadHostPort(text, "write IPv6 as [ADDRESS]:PORT");
    if (!IsHostName(host))
      return BadHostPort(text, "a host has letters, digits, '-', '_' and '.' only");
    result.host = std::string(host);
  }
  if (port.empty()) return result;
  const auto number = port.front() == ':' ? ParsePort(port.substr(1)) : std::nullopt;
  if (!number) return BadHostPort(text, "a port is a number from 0 to 65535");
  result.port = *number;
  return result;
}

std::string FormatHostPort(const HostPort& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  std::string text = v6 ? fmt::format("[{}]", address.host) : address.host;
  if (address.port >= 0) text += fmt::format(":{}", address.port);
  return text;
}

}  // namespace flame
