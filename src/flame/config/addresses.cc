#include "flame/config/addresses.h"

#include <algorithm>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/config/host.h"
#include "flame/config/server_config.h"

namespace flame {
namespace {

using Kind = ValueSource::Kind;
constexpr char kBind[] = "cache.bind";
constexpr char kAdvertise[] = "cache.advertise";
constexpr char kInterface[] = "cache.network_interface";
constexpr char kEndpoint[] = "cache.endpoint";
constexpr char kHttp[] = "cache.http.endpoint";
constexpr char kImpliedInterface[] = "eth0";

/// The first IPv4 address that `wanted` accepts, else the first IPv6 one.
template <typename Predicate>
std::optional<IpAddress> Pick(const std::vector<IpAddress>& addresses, Predicate wanted) {
  for (const bool v6 : {false, true}) {
    for (const IpAddress& address : addresses) {
      if (address.is_v6() == v6 && wanted(address)) return address;
    }
  }
  return std::nullopt;
}

std::vector<IpAddress> AddressesOf(const std::vector<NetworkInterface>& interfaces) {
  std::vector<IpAddress> all;
  for (const NetworkInterface& entry : interfaces) {
    all.insert(all.end(), entry.addresses.begin(), entry.addresses.end());
  }
  return all;
}

bool IsAny(const std::string& host) {
  const auto address = IpAddress::Parse(host);
  return address && address->is_any();
}

bool IsLoopback(const std::string& host) {
  const auto address = IpAddress::Parse(host);
  return host == "localhost" || (address && address->is_loopback());
}

class Resolver {
 public:
  Resolver(const Host& host, bool with_file, ServerConfig* config)
      : host_(host), with_file_(with_file), config_(*config) {}

  arrow::Status Run() {
    if (config_.endpoint.is_unix()) return DropAddresses();
    ARROW_ASSIGN_OR_RAISE(interfaces_, host_.Interfaces());
    DropInterfaceThatAFlagOverrides();
    if (!config_.network_interface.empty()) {
      ARROW_ASSIGN_OR_RAISE(interface_address_,
                            InterfaceAddress(config_.network_interface));
    }
    const bool bind_given = !config_.bind.host.empty();
    ARROW_RETURN_NOT_OK(bind_given ? ResolveBind() : DeriveBind());
    if (config_.bind.port < 0) config_.bind.port = config_.endpoint.port;
    ARROW_RETURN_NOT_OK(ResolveHttp());
    return config_.advertise.host.empty() && !config_.advertise.is_unix()
               ? DeriveAdvertise(bind_given)
               : CheckAdvertise();
  }

 private:
  /// A Unix socket has no address. Files that name one for a server without are common.
  arrow::Status DropAddresses() {
    static constexpr char kUnused[] =
        "{} ({}) is not used: the endpoint is a Unix socket. To listen on both, let "
        "endpoint name the address and unix_socket the path";
    if (!config_.bind.host.empty())
      Warn(fmt::format(kUnused, "bind", config_.SourceOf(kBind).ToString()));
    if (!config_.network_interface.empty())
      Warn(fmt::format(kUnused, "network_interface",
                       config_.SourceOf(kInterface).ToString()));
    config_.bind = {};
    config_.network_interface.clear();
    for (const char* setting : {kBind, kInterface})
      config_.sources[setting] = {Kind::kDerived, kEndpoint};
    return arrow::Status::OK();
  }

  /// `--endpoint` on the command line means that address, whatever interface the file
  /// has.
  void DropInterfaceThatAFlagOverrides() {
    const ValueSource& interface = config_.SourceOf(kInterface);
    if (config_.network_interface.empty() ||
        config_.SourceOf(kEndpoint).kind != Kind::kFlag ||
        interface.kind == Kind::kFlag) {
      return;
    }
    Warn(fmt::format("network_interface '{}' ({}) is not used: --endpoint names the host",
                     config_.network_interface, interface.ToString()));
    config_.network_interface.clear();
    config_.sources[kInterface] = {Kind::kDerived, "flag --endpoint"};
  }

  /// Of the interfaces that match as a whole, or else in part, the first one with an
  /// address in the kernel's order.
  arrow::Result<IpAddress> InterfaceAddress(const std::string& pattern) const {
    std::optional<IpAddress> whole, partial;
    std::string found;
    try {
      const std::regex regex(pattern);
      for (const NetworkInterface& entry : interfaces_) {
        const auto address =
            Pick(entry.addresses, [](const IpAddress& a) { return !a.is_link_local(); });
        found += fmt::format("{}{} ({})", found.empty() ? "" : ", ", entry.name,
                             address ? address->text() : "no address");
        if (!whole && std::regex_match(entry.name, regex)) whole = address;
        if (!partial && std::regex_search(entry.name, regex)) partial = address;
      }
    } catch (const std::regex_error&) {
      return InvalidError(
          fmt::format("{}: '{}' is not a regular expression", kInterface, pattern));
    }
    if (whole) return *whole;
    if (partial) return *partial;
    return InvalidError(fmt::format(
        "{}: no network interface with an address matches '{}'; there are: {}",
        kInterface, pattern, found.empty() ? "none" : found));
  }

  bool IsLocal(const IpAddress& address) const {
    if (address.is_any() || address.is_loopback()) return true;
    const std::vector<IpAddress> ours = AddressesOf(interfaces_);
    return std::find(ours.begin(), ours.end(), address) != ours.end();
  }

  /// The address of this machine that `host` names; the error says why there is none.
  arrow::Result<IpAddress> LocalAddress(const std::string& host) const {
    if (const auto literal = IpAddress::Parse(host)) {
      if (IsLocal(*literal)) return *literal;
      return InvalidError(fmt::format("{} is not an address of this machine", host));
    }
    ARROW_ASSIGN_OR_RAISE(const std::vector<IpAddress> addresses, host_.Resolve(host));
    if (const auto local =
            Pick(addresses, [&](const IpAddress& a) { return IsLocal(a); }))
      return *local;
    std::string texts;
    for (const IpAddress& address : addresses)
      texts += (texts.empty() ? "" : ", ") + address.text();
    return InvalidError(fmt::format("'{}' is {}, which is not this machine", host,
                                    texts.empty() ? "no address" : texts));
  }

  arrow::Status ResolveBind() {
    if (IpAddress::Parse(config_.bind.host))
      return arrow::Status::OK();  // The kernel knows best whether it can.
    const auto local = LocalAddress(config_.bind.host);
    if (!local.ok())
      return InvalidError(fmt::format("{}: {}", kBind, local.status().message()));
    config_.bind.host = local->text();
    return arrow::Status::OK();
  }

  arrow::Status ResolveHttp() {
    if (!config_.http.endpoint) return arrow::Status::OK();
    const Endpoint& endpoint = *config_.http.endpoint;
    config_.http.bind = {endpoint.host, endpoint.port};
    if (IpAddress::Parse(endpoint.host)) return arrow::Status::OK();
    const auto local = LocalAddress(endpoint.host);
    if (!local.ok())
      return InvalidError(fmt::format("{}: {}", kHttp, local.status().message()));
    config_.http.bind.host = local->text();
    return arrow::Status::OK();
  }

  arrow::Status DeriveBind() {
    if (interface_address_) {
      BindTo(interface_address_->text(), kInterface);
      return arrow::Status::OK();
    }
    const std::string& host = config_.endpoint.host;
    const auto local = LocalAddress(host);
    if (local.ok()) {
      BindTo(local->text(), kEndpoint);
      if (local->is_loopback() && !IsLoopback(host)) {
        Warn(
            fmt::format("'{}' is {} here: only this machine can connect; set bind to "
                        "listen elsewhere",
                        host, local->text()));
      }
      return arrow::Status::OK();
    }
    if (with_file_) {
      if (const auto implied = InterfaceAddress(kImpliedInterface); implied.ok()) {
        Warn(fmt::format(
            "{}: {}; listening on {}, the address of {}. Set bind or network_interface "
            "to say where",
            kEndpoint, local.status().message(), implied->text(), kImpliedInterface));
        interface_address_ = *implied;
        config_.network_interface = kImpliedInterface;
        BindTo(implied->text(), kInterface);
        return arrow::Status::OK();
      }
    }
    return InvalidError(
        fmt::format("{}: cannot listen there, {}; say where with bind (0.0.0.0 is every "
                    "address) or network_interface",
                    kEndpoint, local.status().message()));
  }

  void BindTo(std::string host, const char* source) {
    config_.bind.host = std::move(host);
    config_.sources[kBind] = {Kind::kDerived, source};
  }

  arrow::Status CheckAdvertise() {
    if (IsAny(config_.advertise.host)) {
      return InvalidError(
          fmt::format("{}: clients cannot connect to {}; name one address", kAdvertise,
                      config_.advertise.host));
    }
    return arrow::Status::OK();
  }

  arrow::Status DeriveAdvertise(bool bind_given) {
    const char* source = kEndpoint;
    std::string host = config_.endpoint.host;
    if (interface_address_) {
      source = kInterface;
      host = interface_address_->text();
    } else if (bind_given && !config_.IsGiven(kEndpoint)) {
      source = kBind;
      host = config_.bind.host;
    }
    if (IsAny(host) && !IsAny(config_.bind.host)) {
      host = config_.bind.host;
      source = kBind;
    }
    if (IsAny(host)) {
      const auto outward = Pick(AddressesOf(interfaces_), [](const IpAddress& address) {
        return !address.is_loopback() && !address.is_link_local();
      });
      host = outward ? outward->text() : "127.0.0.1";
    }
    if (IsLoopback(host) && !IsLoopback(config_.bind.host)) {
      Warn(fmt::format(
          "clients are told to connect to {}, which only this machine can; set advertise",
          host));
    }
    config_.advertise.host = std::move(host);
    config_.sources[kAdvertise] = {Kind::kDerived, source};
    return arrow::Status::OK();
  }

  void Warn(std::string text) { config_.warnings.push_back(std::move(text)); }

  const Host& host_;
  const bool with_file_;
  ServerConfig& config_;
  std::vector<NetworkInterface> interfaces_;
  std::optional<IpAddress> interface_address_;
};

}  // namespace

arrow::Status ResolveAddresses(const Host& host, bool with_file, ServerConfig* config) {
  return Resolver(host, with_file, config).Run();
}

}  // namespace flame
