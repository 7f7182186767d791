#include "flame/base/log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

LogOptions At(spdlog::level::level_enum level) {
  LogOptions options;
  options.level = level;
  return options;
}

LogOptions InFile(const std::string& file) {
  LogOptions options;
  options.file = file;
  return options;
}

class LogTest : public ::testing::Test {
 protected:
  void TearDown() override { ASSERT_TRUE(SetUpLogging(At(spdlog::level::warn)).ok()); }

  /// What `write` puts on standard error.
  static std::string Stderr(const std::function<void()>& write) {
    ::testing::internal::CaptureStderr();
    write();
    return ::testing::internal::GetCapturedStderr();
  }
  static std::string StderrOf(const LogOptions& options,
                              const std::function<void()>& write) {
    EXPECT_TRUE(SetUpLogging(options).ok());
    return Stderr(write);
  }
};

LogOptions Filter(std::string_view filter) {
  LogOptions options;
  const arrow::Status status = ParseLogFilter(filter, &options);
  EXPECT_TRUE(status.ok()) << status;
  return options;
}

TEST_F(LogTest, BeforeSetUpWarningsGoToStandardErrorAndLoggersFollowASetUp) {
  GTEST_FLAG_SET(death_test_style,
                 "threadsafe");  // Its own process, where nothing is set up yet.
  const auto in_a_new_process = [] {
    FLAME_LOG_INFO(early, "hidden");
    FLAME_LOG_WARN(early, "shown");
    const bool ok = SetUpLogging(At(spdlog::level::debug)).ok();
    FLAME_LOG_DEBUG(early, "followed");
    std::_Exit(ok ? 0 : 1);
  };
  EXPECT_EXIT(in_a_new_process(), ::testing::ExitedWithCode(0),
              "^[^\n]* WARN flame.early: shown\n[^\n]* DEBUG flame.early: followed\n$");
}

TEST_F(LogTest, TextLineHasDateLevelTargetAndMessage) {
  const std::string line =
      StderrOf({}, [] { FLAME_LOG_INFO(cache, "commit key={} version={}", "a/b/c", 3); });
  const std::regex shape(
      R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO flame\.cache: commit key=a/b/c version=3\n)");
  EXPECT_TRUE(std::regex_match(line, shape)) << line;
}

TEST_F(LogTest, DefaultIsInfo) {
  const std::string text = StderrOf({}, [] {
    FLAME_LOG_DEBUG(cache, "hidden");
    FLAME_LOG_INFO(cache, "shown");
  });
  EXPECT_THAT(text, HasSubstr("shown"));
  EXPECT_THAT(text, Not(HasSubstr("hidden")));
}

TEST_F(LogTest, KeyCannotForgeALogLine) {
  const std::string evil =
      "k\n2026-01-01T00:00:00.000Z ERROR flame.cache: "
      "forged\r\t\x1b[2J\x7f\xc2\x85\u2028\xff\xc3";
  const std::string text =
      StderrOf({}, [&] { FLAME_LOG_INFO(cache, "get key={}", evil); });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_THAT(
      text,
      HasSubstr(
          R"(get key=k\n2026-01-01T00:00:00.000Z ERROR flame.cache: forged\r\t\x1b[2J\x7f\xc2\x85\xe2\x80\xa8\xff\xc3)"));
}

TEST_F(LogTest, OtherTextIsLoggedAsItIs) {
  const std::string text =
      StderrOf({}, [] { FLAME_LOG_INFO(cache, "{}", "Schlüssel 鍵 🔑 a\\b"); });
  EXPECT_THAT(text, HasSubstr("Schlüssel 鍵 🔑 a\\b"));
}

TEST_F(LogTest, JsonLinesAreValidWhateverTheMessageHolds) {
  const std::string evil = "q\"\\\n\x01\x1f\u00fc\xff\xed\xa0\x80";
  LogOptions json;
  json.format = LogFormat::kJson;
  const std::string text =
      StderrOf(json, [&] { FLAME_LOG_WARN(flight, "get {}", evil); });
  const std::regex shape(
      R"re(\{"time":"[0-9TZ:.-]{24}","level":"warn","target":"flame\.flight","message":"(.*)"\}\n)re");
  std::smatch match;
  ASSERT_TRUE(std::regex_match(text, match, shape)) << text;
  EXPECT_EQ(match[1],
            "get q\\\"\\\\\\u000a\\u0001\\u001f\u00fc\\ufffd\\ufffd\\ufffd\\ufffd");
}

TEST_F(LogTest, FilterMayBeALevel) {
  EXPECT_EQ(Filter("error").level, spdlog::level::err);
  EXPECT_EQ(Filter("warn").level, spdlog::level::warn);
  EXPECT_EQ(Filter("info").level, spdlog::level::info);
  EXPECT_EQ(Filter("DEBUG").level, spdlog::level::debug);
  EXPECT_EQ(Filter(" trace ").level, spdlog::level::trace);
  EXPECT_EQ(Filter("off").level, spdlog::level::off);
  EXPECT_EQ(Filter("").level, spdlog::level::info);
}

TEST_F(LogTest, FilterMayHoldPythonsLevelNames) {
  EXPECT_EQ(Filter("warning").level, spdlog::level::warn);
  EXPECT_EQ(Filter("critical").level, spdlog::level::err);
}

TEST_F(LogTest, FilterMayNameTargetsAndTheExistingServersNamesMeanOurs) {
  const LogOptions options = Filter("warn,flame_cache=debug,h2=trace,rocksdb=info");
  EXPECT_EQ(options.level, spdlog::level::warn);
  EXPECT_EQ(options.targets.at("flame"), spdlog::level::debug);
  EXPECT_EQ(options.targets.at("grpc"), spdlog::level::trace);
  EXPECT_EQ(options.targets.at("rocksdb"), spdlog::level::info);

  EXPECT_EQ(Filter("flame_object_cache=debug").targets.at("flame"), spdlog::level::debug);
  EXPECT_EQ(Filter("flame_object_cache").targets.at("flame"), spdlog::level::trace);
  EXPECT_EQ(Filter("flame_object_cache::cache=debug").targets.at("flame.cache"),
            spdlog::level::debug);
  EXPECT_EQ(Filter("flame_cache::storage::disk=debug").targets.at("flame.storage"),
            spdlog::level::debug);
  EXPECT_EQ(Filter("flame_object_cache::eviction=debug").targets.at("flame.cache"),
            spdlog::level::debug);
}

TEST_F(LogTest, UnknownLevelIsAnErrorThatNamesTheKnownOnesAndChangesNothing) {
  for (const char* filter : {"debgu", "trace,flame_cache=loud", "flame=", "=debug"}) {
    LogOptions options;
    const arrow::Status status = ParseLogFilter(filter, &options);
    ASSERT_TRUE(IsError(status, ErrorCode::kInvalid)) << filter;
    EXPECT_EQ(options.level, spdlog::level::info) << filter;
    EXPECT_TRUE(options.targets.empty()) << filter;
  }
  LogOptions options;
  EXPECT_EQ(ParseLogFilter("debgu", &options).message(),
            "'debgu' is not a log level; the levels are off, error, warn, info, debug "
            "and trace");
}

TEST_F(LogTest, TheLongestTargetDecides) {
  const std::string text = StderrOf(Filter("error,flame=warn,flame.cache=debug"), [] {
    FLAME_LOG_DEBUG(cache, "cache debug");
    FLAME_LOG_TRACE(cache, "cache trace");
    FLAME_LOG_WARN(flight, "flight warn");
    FLAME_LOG_INFO(flight, "flight info");
  });
  EXPECT_THAT(text, HasSubstr("cache debug"));
  EXPECT_THAT(text, HasSubstr("flight warn"));
  EXPECT_THAT(text, Not(HasSubstr("cache trace")));
  EXPECT_THAT(text, Not(HasSubstr("flight info")));
}

TEST_F(LogTest, LibrariesAreQuietUnlessAskedFor) {
  ASSERT_TRUE(SetUpLogging(Filter("trace")).ok());
  EXPECT_EQ(LibraryLogLevel("grpc"), spdlog::level::off);
  EXPECT_EQ(LibraryLogLevel("rocksdb"), spdlog::level::off);
  ASSERT_TRUE(SetUpLogging(Filter("debug,h2=trace,rocksdb=warn")).ok());
  EXPECT_EQ(LibraryLogLevel("grpc"), spdlog::level::trace);
  EXPECT_EQ(LibraryLogLevel("rocksdb"), spdlog::level::warn);
}

TEST_F(LogTest, ALoggerLivesForEver) {
  EXPECT_EQ(GetLogger("cache"), GetLogger("cache"));
}

TEST_F(LogTest, FileIsAppendedTo) {
  char folder[] = "/tmp/flame-log-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string file = std::string(folder) + "/cache.log";
  std::ofstream(file) << "earlier\n";
  const std::string text = StderrOf(InFile(file), [] { FLAME_LOG_INFO(cache, "both"); });
  std::stringstream content;
  content << std::ifstream(file).rdbuf();
  EXPECT_EQ(content.str(), "earlier\n" + text);
  EXPECT_THAT(text, HasSubstr("flame.cache: both"));
  ASSERT_TRUE(SetUpLogging({}).ok());
  unlink(file.c_str());
  rmdir(folder);
}

TEST_F(LogTest, FileThatCannotBeOpenedIsAnErrorThatNamesIt) {
  const arrow::Status status = SetUpLogging(InFile("/dev/null/cache.log"));
  ASSERT_TRUE(IsError(status, ErrorCode::kIo));
  EXPECT_THAT(status.message(), HasSubstr("open the log file /dev/null/cache.log: "));
}

}  // namespace
}  // namespace flame
