// For tests: a machine that is what the test says.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/config/host.h"

namespace flame {

/// A host with loopback and eth0 (10.0.0.5), 8 GiB and the home folder /home/ann, without
/// a file.
class FakeHost final : public Host {
 public:
  FakeHost() {
    AddInterface("lo", {"127.0.0.1", "::1"});
    AddInterface("eth0", {"fe80::5", "fd00::5", "10.0.0.5"});
  }

  void AddInterface(const std::string& name, const std::vector<std::string>& addresses) {
    NetworkInterface added{static_cast<int>(interfaces.size()) + 1, name, {}};
    for (const std::string& address : addresses)
      added.addresses.push_back(IpAddress::Parse(address).value());
    interfaces.push_back(std::move(added));
  }
  /// The file that is used when none is named.
  void SetDefaultFile(const std::string& text) {
    files["/home/ann/.flame/flame-cluster.yaml"] = text;
  }

  std::optional<std::string> Env(const std::string& name) const override {
    const auto found = env.find(name);
    if (found == env.end() || found->second.empty()) return std::nullopt;
    return found->second;
  }
  arrow::Result<std::vector<NetworkInterface>> Interfaces() const override {
    return interfaces;
  }
  arrow::Result<std::vector<IpAddress>> Resolve(const std::string& name) const override {
    const auto found = names.find(name);
    if (found == names.end())
      return InvalidError("cannot resolve '" + name + "': Name or service not known");
    std::vector<IpAddress> addresses;
    for (const std::string& address : found->second)
      addresses.push_back(IpAddress::Parse(address).value());
    return addresses;
  }
  arrow::Result<std::optional<std::string>> ReadFile(
      const std::string& path) const override {
    const auto found = files.find(path);
    if (found == files.end()) return std::optional<std::string>();
    return std::optional(found->second);
  }
  bool CanWriteFolder(const std::string& path) const override { return writable == path; }
  std::string WorkingDirectory() const override { return "/here"; }
  int64_t MemoryBytes() const override { return memory; }
  uint32_t UserId() const override { return 1000; }

  std::map<std::string, std::string> env{{"HOME", "/home/ann"}};
  std::map<std::string, std::string> files;
  std::map<std::string, std::vector<std::string>> names{
      {"localhost", {"::1", "127.0.0.1"}}};
  std::vector<NetworkInterface> interfaces;
  std::string writable;
  int64_t memory = int64_t{8} << 30;
};

}  // namespace flame
