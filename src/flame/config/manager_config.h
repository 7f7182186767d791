// ManagerConfig: everything that flame-session-manager is told, understood and checked:
// from flags, the environment, the `cluster:` section of flame-cluster.yaml, defaults; an
// earlier one beats a later one. The table of its settings is in manager_settings.cc.
//
// A value; after loading, constant.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "flame/base/log.h"
#include "flame/config/endpoint.h"
#include "flame/config/host.h"
#include "flame/config/load.h"
#include "flame/config/storage_url.h"

namespace flame {

struct ManagerConfig {
  /// The manager as clients and services know it; its host is where to listen unless
  /// `bind` says so. Port 0 = any free one.
  Endpoint endpoint{.scheme = "http", .host = "127.0.0.1", .port = 8080};
  std::string bind;            // A host or address; empty = the endpoint's.
  std::string cache_endpoint;  // For services; empty = there is no cache.
  bool embed_cache = false;    // This process hosts it.
  /// The file that has a section `cache`; empty = none was read.
  std::string cache_file;
  /// Results of a closed session are removed after it; nullopt = never.
  std::optional<std::chrono::milliseconds> session_ttl;

  StorageUrl storage;

  struct Demand {
    uint64_t cpu = 1;
    uint64_t memory = uint64_t{1} << 30;  // Bytes.
    uint64_t gpu = 0;
  } instance;  // Of one instance whose session does not say.
  /// How many times over CPUs and memory may be given away; at least 1.
  double overcommit = 8;
  int64_t max_sessions = 0;   // 0 = no limit.
  int64_t max_executors = 0;  // 0 = no limit.
  int64_t max_message = 64 << 20;
  bool strict_upstream = false;
  int64_t retry_limit = 5;
  std::chrono::milliseconds schedule_interval{100};

  std::string work_dir;    // Empty = a folder of its own, by port; see WorkDir().
  std::string socket_dir;  // Empty = the work_dir.
  std::string home;        // Empty = the folder above the program's own.
  std::vector<std::string> pass_environment;
  std::chrono::milliseconds start_timeout = std::chrono::seconds(120);
  std::chrono::milliseconds enter_timeout = std::chrono::minutes(10);
  std::string python = "python3";  // A path, or a name in the PATH.
  std::chrono::milliseconds install_timeout = std::chrono::minutes(15);
  int64_t spares = 2;     // Of each line that Python workers are started with.
  int64_t keep_logs = 4;  // Ended instances of a session; 0 = none.
  int64_t keep_log_bytes = 64 << 20;

  std::string cert_file, key_file, ca_file;

  LogOptions log;
  std::string log_filter = "info";
  std::chrono::milliseconds drain_timeout = std::chrono::seconds(10);

  /// Settings that were given, by path, and where.
  struct Given {
    std::string text;
    std::string where;
  };
  std::map<std::string_view, Given> given;
  std::vector<std::string> warnings;
};

using ManagerStartup = std::variant<ManagerConfig, Exit>;

/// `arguments` without the program's name. Reads at most one file and creates nothing.
ManagerStartup LoadManagerConfig(const std::vector<std::string>& arguments,
                                 std::string_view version, const Host& host);

/// "cpu=1,mem=1g,gpu=0", each at most once, in any order. kInvalid for anything else.
arrow::Result<ManagerConfig::Demand> ParseDemand(std::string_view text);

}  // namespace flame
