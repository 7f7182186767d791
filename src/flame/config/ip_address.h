// IpAddress and HostPort: where to listen and where clients connect to, as text that has
// been understood.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <arrow/result.h>

namespace flame {

/// An IPv4 or IPv6 address. A value.
class IpAddress {
 public:
  /// nullopt when `text` is no address (a host name, say). IPv6 without brackets.
  static std::optional<IpAddress> Parse(std::string_view text);

  const std::string& text() const { return text_; }  // In the usual form: "::1".
  bool is_v6() const { return text_.find(':') != std::string::npos; }
  bool is_any() const { return text_ == "0.0.0.0" || text_ == "::"; }
  bool is_loopback() const;
  /// Reachable only with the name of an interface beside it, which a URL cannot carry.
  bool is_link_local() const;
  bool operator==(const IpAddress&) const = default;

 private:
  explicit IpAddress(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

struct HostPort {
  std::string host;  // Name or address; IPv6 without brackets. Empty = not given.
  int port = -1;     // -1 = not given, 0 = any free one.
  bool operator==(const HostPort&) const = default;
};

/// "host", "host:port", "[::1]:9090" or a bare IPv6 address. kInvalid for anything else.
arrow::Result<HostPort> ParseHostPort(std::string_view text);
/// Back to text, with brackets where IPv6 needs them; without a port if it is not given.
std::string FormatHostPort(const HostPort& address);

}  // namespace flame
