#include "flame/server/cache_options.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "flame/base/log.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/memory_store.h"

namespace flame {
namespace {

/// By which a restart is recognised; empty without a port of one's own.
std::string NameOf(const ServerConfig& config) {
  if (config.ListensOnTcp()) {
    return config.bind.port == 0
               ? ""
               : fmt::format("{}-{}", config.bind.host, config.bind.port);
  }
  std::string name = "unix" + config.endpoint.path;
  std::replace(name.begin(), name.end(), '/', '-');
  return name;
}

arrow::Result<std::unique_ptr<Store>> OpenMemoryStore(const ServerConfig& config) {
  MemoryStoreOptions options;
  const std::string name = NameOf(config);
  if (!name.empty()) {
    std::error_code error;
    std::filesystem::create_directories(config.runtime_dir, error);
    if (error) {
      FLAME_LOG_WARN(server,
                     "cannot create {} ({}): after a restart versions of deleted or lost "
                     "objects may "
                     "be used again; set cache.runtime_dir",
                     config.runtime_dir, error.message());
    } else {
      options.runtime_file =
          fmt::format("{}/object-cache-{}.versions", config.runtime_dir, name);
    }
  }
  return MemoryStore::Open(options);
}

EvictionOptions EvictionOptionsOf(const ServerConfig::Eviction& config) {
  EvictionOptions options;
  switch (config.policy) {
    case ServerConfig::Eviction::Policy::kLru:
      options.policy = EvictionOptions::Policy::kLru;
      break;
    case ServerConfig::Eviction::Policy::kS3Fifo:
      options.policy = EvictionOptions::Policy::kS3Fifo;
      break;
    case ServerConfig::Eviction::Policy::kNone:
      options.policy = EvictionOptions::Policy::kNone;
      break;
  }
  options.max_bytes = config.max_memory;
  options.max_objects = config.max_objects;
  return options;
}

FileCompression CompressionOf(const ServerConfig& config) {
  FileCompression compression;
  if (config.compression == ServerConfig::Compression::kLz4)
    compression.codec = arrow::Compression::LZ4_FRAME;
  if (config.compression == ServerConfig::Compression::kZstd)
    compression.codec = arrow::Compression::ZSTD;
  compression.min_size = config.compression_min_size;
  compression.min_gain = config.compression_min_gain;
  return compression;
}

}  // namespace

arrow::Result<std::unique_ptr<Store>> OpenStore(const ServerConfig& config) {
  if (config.storage.kind == StorageUrl::Kind::kNone) return OpenMemoryStore(config);
  FsStoreOptions options;
  options.root = config.storage.path;
  options.pack_below = config.pack_below;
  options.compression = CompressionOf(config);
  options.sync_always = config.sync == ServerConfig::Sync::kAlways;
  return FsStore::Open(options);
}

CacheOptions CacheOptionsOf(const ServerConfig& config) {
  CacheOptions options;
  options.durability = config.sync == ServerConfig::Sync::kAlways ? Durability::kDisk
                                                                  : Durability::kProcess;
  options.max_patches = static_cast<int32_t>(config.patches_max);
  options.max_object_bytes = config.limits.object;
  options.max_tombstones = config.tombstones_max;
  options.eviction = EvictionOptionsOf(config.eviction);
  return options;
}

FlightLimits FlightLimitsOf(const ServerConfig::Limits& limits) {
  return {.object = limits.object.value_or(limits.in_flight),
          .streams = limits.streams,
          .list_objects = limits.list_objects,
          .list_bytes = limits.list_bytes};
}

}  // namespace flame
