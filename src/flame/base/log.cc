#include "flame/base/log.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "flame/base/error.h"
#include "flame/base/mutex.h"

namespace flame {
namespace {

using spdlog::level::level_enum;

// Levels and filters.

struct LevelName {
  std::string_view name;
  level_enum level;
};
// The first name of a level is the one that lines show; the others are Python's, whose
// programs read FLAME_LOG too.
constexpr std::array kLevels{
    LevelName{"off", spdlog::level::off},
    LevelName{"error", spdlog::level::err},
    LevelName{"warn", spdlog::level::warn},
    LevelName{"info", spdlog::level::info},
    LevelName{"debug", spdlog::level::debug},
    LevelName{"trace", spdlog::level::trace},
    LevelName{"warning", spdlog::level::warn},
    LevelName{"critical", spdlog::level::err},
    LevelName{"error", spdlog::level::critical},
};

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return lower;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())))
    text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())))
    text.remove_suffix(1);
  return text;
}

std::optional<level_enum> LevelFromName(std::string_view name) {
  const std::string lower = Lower(name);
  for (const LevelName& row : kLevels) {
    if (row.name == lower) return row.level;
  }
  return std::nullopt;
}

std::string_view NameOfLevel(level_enum level) {
  for (const LevelName& row : kLevels) {
    if (row.level == level) return row.name;
  }
  return "info";
}

bool IsOurs(std::string_view target) {
  return target == "flame" || target.substr(0, 6) == "flame.";
}

/// The existing server's target names in terms of our folders; others as they are.
std::string OurTarget(std::string_view name) {
  if (name == "h2") return "grpc";  // Its HTTP/2 is gRPC's here.
  const size_t separator = std::min(name.find("::"), name.size());
  const std::string_view root = name.substr(0, separator);
  if (root != "flame_cache" && root != "flame_object_cache") return std::string(name);
  if (separator == name.size()) return "flame";
  std::string_view module = name.substr(separator + 2);
  module = module.substr(0, module.find("::"));
  return module == "eviction" ? "flame.cache" : fmt::format("flame.{}", module);
}

arrow::Status UnknownLevel(std::string_view word) {
  return InvalidError(fmt::format(
      "'{}' is not a log level; the levels are off, error, warn, info, debug and trace",
      word));
}

// Formats.

/// Length of the UTF-8 character that `text` starts with; 0 when it starts with none.
size_t CharacterLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  const size_t length = first < 0x80   ? 1
                        : first < 0xC2 ? 0
                        : first < 0xE0 ? 2
                        : first < 0xF0 ? 3
                        : first < 0xF5 ? 4
                                       : 0;
  if (length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (length < 3) return length;
  const bool overlong =
      (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
  const bool surrogate = first == 0xED && byte(1) >= 0xA0;
  const bool beyond = first == 0xF4 && byte(1) >= 0x90;
  return overlong || surrogate || beyond ? 0 : length;
}

/// True for what can end or rewrite a line on a terminal: C0, DEL, C1 and Unicode's line
/// separators.
bool IsControl(std::string_view character) {
  const auto first = static_cast<uint8_t>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7F;
  if (character.size() == 2)
    return first == 0xC2 && static_cast<uint8_t>(character[1]) < 0xA0;
  return character == "\u2028" || character == "\u2029";
}

using Output = spdlog::memory_buf_t;

void Append(Output& output, std::string_view text) {
  output.append(text.data(), text.data() + text.size());
}

/// Append `text` so that it stays on its line: a key that holds a newline must not forge
/// a second one.
void AppendOneLine(Output& output, std::string_view text) {
  for (size_t length = 1; !text.empty(); text.remove_prefix(length)) {
    length = std::max<size_t>(CharacterLength(text), 1);
    const std::string_view character = text.substr(0, length);
    if (character == "\n") {
      Append(output, "\\n");
    } else if (character == "\r") {
      Append(output, "\\r");
    } else if (character == "\t") {
      Append(output, "\\t");
    } else if (CharacterLength(text) == 0 || IsControl(character)) {
      for (const char byte : character) {
        fmt::format_to(std::back_inserter(output), "\\x{:02x}",
                       static_cast<uint8_t>(byte));
      }
    } else {
      Append(output, character);
    }
  }
}

void AppendJsonString(Output& output, std::string_view text) {
  output.push_back('"');
  for (size_t length = 1; !text.empty(); text.remove_prefix(length)) {
    length = std::max<size_t>(CharacterLength(text), 1);
    const std::string_view character = text.substr(0, length);
    const auto first = static_cast<uint8_t>(character[0]);
    if (CharacterLength(text) == 0) {
      Append(output, "\\ufffd");
    } else if (first < 0x20) {
      fmt::format_to(std::back_inserter(output), "\\u{:04x}", first);
    } else {
      if (first == '"' || first == '\\') output.push_back('\\');
      Append(output, character);
    }
  }
  output.push_back('"');
}

void AppendTime(Output& output, spdlog::log_clock::time_point time) {
  const auto since_epoch =
      std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  fmt::format_to(std::back_inserter(output), "{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                 fmt::gmtime(static_cast<std::time_t>(seconds.count())),
                 (since_epoch - seconds).count());
}

std::string_view View(spdlog::string_view_t text) { return {text.data(), text.size()}; }

/// 2026-11-20T12:00:00.123Z INFO flame.cache: message
class TextFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, Output& output) override {
    AppendTime(output, message.time);
    output.push_back(' ');
    for (const char c : NameOfLevel(message.level))
      output.push_back(static_cast<char>(std::toupper(c)));
    output.push_back(' ');
    Append(output, View(message.logger_name));
    Append(output, ": ");
    AppendOneLine(output, View(message.payload));
    output.push_back('\n');
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<TextFormatter>();
  }
};

/// {"time":"2026-11-20T12:00:00.123Z","level":"info","target":"flame.cache","message":"..."}
class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, Output& output) override {
    Append(output, "{\"time\":\"");
    AppendTime(output, message.time);
    Append(output, "\",\"level\":");
    AppendJsonString(output, NameOfLevel(message.level));
    Append(output, ",\"target\":");
    AppendJsonString(output, View(message.logger_name));
    Append(output, ",\"message\":");
    AppendJsonString(output, View(message.payload));
    Append(output, "}\n");
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

// The loggers.

/// Every logger of the process. They share one sink whose targets are exchanged by SetUp,
/// so that loggers that were asked for earlier follow.
class Loggers {
 public:
  /// Lives for ever: threads may log while the process exits.
  static Loggers& Instance() {
    static Loggers* const loggers = new Loggers;
    return *loggers;
  }

  arrow::Status SetUp(const LogOptions& options) {
    std::vector<spdlog::sink_ptr> sinks{
        std::make_shared<spdlog::sinks::stderr_sink_mt>()};
    if (!options.file.empty()) {
      errno = 0;
      try {
        sinks.push_back(
            std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file));
      } catch (const spdlog::spdlog_ex&) {
        return ErrnoError(errno != 0 ? errno : EIO, "open the log file", options.file);
      }
    }
    const MutexLock lock(mutex_);
    options_ = options;
    Write(std::move(sinks));
    for (const auto& [name, logger] : loggers_) logger->set_level(LevelOf(name));
    return arrow::Status::OK();
  }

  spdlog::logger* Get(std::string_view folder) {
    const std::string name = fmt::format("flame.{}", folder);
    const MutexLock lock(mutex_);
    std::shared_ptr<spdlog::logger>& logger = loggers_[name];
    if (logger == nullptr) {
      logger = std::make_shared<spdlog::logger>(name, sink_);
      logger->set_level(LevelOf(name));
      logger->flush_on(spdlog::level::trace);
    }
    return logger.get();
  }

  level_enum LibraryLevel(std::string_view target) {
    const MutexLock lock(mutex_);
    const auto found = options_.targets.find(target);
    return found == options_.targets.end() ? spdlog::level::off : found->second;
  }

 private:
  Loggers() {
    options_.level = spdlog::level::warn;  // Until SetUp: a library's or a test's.
    Write({std::make_shared<spdlog::sinks::stderr_sink_mt>()});
  }

  void Write(std::vector<spdlog::sink_ptr> sinks) REQUIRES(mutex_) {
    for (const spdlog::sink_ptr& sink : sinks) {
      if (options_.format == LogFormat::kJson) {
        sink->set_formatter(std::make_unique<JsonFormatter>());
      } else {
        sink->set_formatter(std::make_unique<TextFormatter>());
      }
    }
    sink_->set_sinks(std::move(sinks));
  }

  /// The longest named target that `name` lies in decides.
  level_enum LevelOf(std::string_view name) const REQUIRES(mutex_) {
    for (std::string_view target = name; !target.empty();) {
      const auto found = options_.targets.find(target);
      if (found != options_.targets.end()) return found->second;
      const size_t dot = target.rfind('.');
      target = dot == std::string_view::npos ? std::string_view{} : target.substr(0, dot);
    }
    return options_.level;
  }

  const std::shared_ptr<spdlog::sinks::dist_sink_mt> sink_ =
      std::make_shared<spdlog::sinks::dist_sink_mt>();
  Mutex mutex_;
  LogOptions options_ GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<spdlog::logger>> loggers_ GUARDED_BY(mutex_);
};

}  // namespace

arrow::Status ParseLogFilter(std::string_view filter, LogOptions* options) {
  LogOptions parsed = *options;
  while (!filter.empty()) {
    const size_t comma = std::min(filter.find(','), filter.size());
    const std::string_view part = Trim(filter.substr(0, comma));
    filter.remove_prefix(std::min(comma + 1, filter.size()));
    if (part.empty()) continue;

    const size_t equals = part.rfind('=');
    const std::string_view word =
        equals == std::string_view::npos ? part : Trim(part.substr(equals + 1));
    const auto level = LevelFromName(word);
    if (equals == std::string_view::npos) {
      const std::string target = OurTarget(part);
      if (level) {
        parsed.level = *level;
      } else if (IsOurs(target)) {
        // A name alone asks for all that it has to say.
        parsed.targets[target] = spdlog::level::trace;
      } else {
        return UnknownLevel(word);
      }
      continue;
    }
    const std::string_view target = Trim(part.substr(0, equals));
    if (target.empty())
      return InvalidError(fmt::format("'{}' names no log target before '='", part));
    if (!level) return UnknownLevel(word);
    parsed.targets[OurTarget(target)] = *level;
  }
  *options = std::move(parsed);
  return arrow::Status::OK();
}

arrow::Status SetUpLogging(const LogOptions& options) {
  return Loggers::Instance().SetUp(options);
}

spdlog::logger* GetLogger(std::string_view folder) {
  return Loggers::Instance().Get(folder);
}

level_enum LibraryLogLevel(std::string_view target) {
  return Loggers::Instance().LibraryLevel(target);
}

}  // namespace flame
