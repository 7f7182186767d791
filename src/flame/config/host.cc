#include "flame/config/host.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/config/memory_limit.h"

namespace flame {
namespace {

std::optional<IpAddress> AddressOf(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN];
  const void* bytes = nullptr;
  if (address == nullptr) return std::nullopt;
  if (address->sa_family == AF_INET)
    bytes = &reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
  if (address->sa_family == AF_INET6)
    bytes = &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  if (bytes == nullptr ||
      inet_ntop(address->sa_family, bytes, text, sizeof text) == nullptr)
    return std::nullopt;
  return IpAddress::Parse(text);
}

class SystemHost final : public Host {
 public:
  std::optional<std::string> Env(const std::string& name) const override {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
  }

  arrow::Result<std::vector<NetworkInterface>> Interfaces() const override {
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0)
      return ErrnoError(errno, "list", "the network interfaces");
    const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, freeifaddrs);
    std::map<int, NetworkInterface> by_index;
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
      if ((entry->ifa_flags & IFF_UP) == 0) continue;
      const int index = static_cast<int>(if_nametoindex(entry->ifa_name));
      NetworkInterface& found = by_index[index];
      found.index = index;
      found.name = entry->ifa_name;
      if (auto address = AddressOf(entry->ifa_addr))
        found.addresses.push_back(*std::move(address));
    }
    std::vector<NetworkInterface> interfaces;
    for (auto& [index, found] : by_index) interfaces.push_back(std::move(found));
    return interfaces;
  }

  arrow::Result<std::vector<IpAddress>> Resolve(const std::string& name) const override {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    if (const int error = getaddrinfo(name.c_str(), nullptr, &hints, &list); error != 0) {
      return MakeError(ErrorCode::kInvalid,
                       fmt::format("cannot resolve '{}': {}", name, gai_strerror(error)));
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, freeaddrinfo);
    std::vector<IpAddress> addresses;
    for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
      if (auto address = AddressOf(entry->ai_addr))
        addresses.push_back(*std::move(address));
    }
    return addresses;
  }

  arrow::Result<std::optional<std::string>> ReadFile(
      const std::string& path) const override {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored))
      return ErrnoError(EISDIR, "read", path);
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      if (errno == ENOENT || errno == ENOTDIR) return std::optional<std::string>();
      return ErrnoError(errno, "read", path);
    }
    std::string text{std::istreambuf_iterator<char>(file),
                     std::istreambuf_iterator<char>()};
    if (file.bad()) return ErrnoError(EIO, "read", path);
    return std::optional(std::move(text));
  }

  bool CanWriteFolder(const std::string& path) const override {
    if (access(path.c_str(), W_OK | X_OK) == 0) return true;
    const std::string parent = std::filesystem::path(path).parent_path().string();
    return errno == ENOENT && access(parent.c_str(), W_OK | X_OK) == 0;
  }

  std::string WorkingDirectory() const override {
    std::error_code ignored;
    return std::filesystem::current_path(ignored).string();
  }

  int64_t MemoryBytes() const override {
    const int64_t machine = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    return std::min(machine, ControlGroupMemoryLimit());
  }

  uint32_t UserId() const override { return geteuid(); }
};

}  // namespace

const Host* Host::System() {
  static const SystemHost host;
  return &host;
}

}  // namespace flame
