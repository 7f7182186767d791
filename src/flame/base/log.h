// Logging: one named logger per folder ("flame.cache", "flame.flight", ...), over spdlog.
// The application sets it up once with SetUpLogging(); a library or test that never does
// so logs warnings to stderr.
//
//   FLAME_LOG_INFO(cache, "commit key={} version={} bytes={}", key, version, bytes);
//
// An error is either returned or logged, not both; the edge that answers the client logs
// once. Payload bytes are never logged. Thread-safe; a disabled level costs one atomic
// load.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <arrow/status.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace flame {

enum class LogFormat { kText, kJson };

struct LogOptions {
  /// Default level of our own loggers, and of targets not named below: off, error, warn,
  /// info, debug or trace.
  spdlog::level::level_enum level = spdlog::level::info;
  /// Level by target name. "flame" means all of ours, "flame.cache" one folder; other
  /// names are libraries'.
  std::map<std::string, spdlog::level::level_enum, std::less<>> targets;
  LogFormat format = LogFormat::kText;
  /// Also append to this file; empty = standard error only.
  std::string file;
};

/// Parse what FLAME_LOG and RUST_LOG hold: `debug`, or `info,flame_cache=debug,h2=trace`.
/// The names that the existing server's users know, `flame_cache` and
/// `flame_object_cache` (and `...::cache` below them), mean ours. kInvalid for an unknown
/// level, naming the known ones.
arrow::Status ParseLogFilter(std::string_view filter, LogOptions* options);

/// Set up every logger. Call once, before threads start.
arrow::Status SetUpLogging(const LogOptions& options);

/// The logger of one folder; the pointer lives for ever.
spdlog::logger* GetLogger(std::string_view folder);
/// The level asked for a library's target ("rocksdb", "grpc"); off unless it was named.
spdlog::level::level_enum LibraryLogLevel(std::string_view target);

}  // namespace flame

// fmt::format() is compiled once, spdlog's own formatting in every file that logs: half
// of the time to compile most of them.
#define FLAME_LOG_AT(folder, level_, ...)                                      \
  do {                                                                         \
    static ::spdlog::logger* const flame_logger = ::flame::GetLogger(#folder); \
    if (flame_logger->should_log(level_))                                      \
      flame_logger->log(level_, std::string_view(::fmt::format(__VA_ARGS__))); \
  } while (false)
#define FLAME_LOG_TRACE(folder, ...) \
  FLAME_LOG_AT(folder, ::spdlog::level::trace, __VA_ARGS__)
#define FLAME_LOG_DEBUG(folder, ...) \
  FLAME_LOG_AT(folder, ::spdlog::level::debug, __VA_ARGS__)
#define FLAME_LOG_INFO(folder, ...) \
  FLAME_LOG_AT(folder, ::spdlog::level::info, __VA_ARGS__)
#define FLAME_LOG_WARN(folder, ...) \
  FLAME_LOG_AT(folder, ::spdlog::level::warn, __VA_ARGS__)
#define FLAME_LOG_ERROR(folder, ...) \
  FLAME_LOG_AT(folder, ::spdlog::level::err, __VA_ARGS__)
