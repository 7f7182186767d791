// Host: all that the configuration asks of the machine, so that tests pass a made-up one.
// Environment variables are read nowhere else in the program.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "flame/config/ip_address.h"

namespace flame {

struct NetworkInterface {
  int index = 0;     // The kernel's; the order in which interfaces came up.
  std::string name;  // "eth0"
  std::vector<IpAddress> addresses;
};

class Host {
 public:
  virtual ~Host() = default;
  /// The value of an environment variable; nullopt when it is not set or empty.
  virtual std::optional<std::string> Env(const std::string& name) const = 0;
  /// The interfaces that are up, by rising index.
  virtual arrow::Result<std::vector<NetworkInterface>> Interfaces() const = 0;
  /// The addresses of a host name. May ask a name server.
  virtual arrow::Result<std::vector<IpAddress>> Resolve(
      const std::string& name) const = 0;
  /// The whole text of a file; nullopt when there is none.
  virtual arrow::Result<std::optional<std::string>> ReadFile(
      const std::string& path) const = 0;
  /// Whether a folder exists (or its parent does) and can be written to.
  virtual bool CanWriteFolder(const std::string& path) const = 0;
  virtual std::string WorkingDirectory() const = 0;
  /// Memory that this process can have: the machine's, or less where a control group says
  /// so.
  virtual int64_t MemoryBytes() const = 0;
  virtual uint32_t UserId() const = 0;

  /// This machine; lives for ever.
  static const Host* System();
};

}  // namespace flame
