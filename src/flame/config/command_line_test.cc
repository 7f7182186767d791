#include "flame/config/command_line.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/config/settings.h"

namespace flame {
namespace {

using ::testing::HasSubstr;

std::string Error(const std::vector<std::string>& arguments) {
  const auto line = ParseCommandLine(arguments);
  EXPECT_FALSE(line.ok());
  return line.ok() ? "" : line.status().message();
}

TEST(CommandLineTest, FlagsAreTakenInBothForms) {
  const CommandLine line = ParseCommandLine({"--storage", "none", "--bind=[::1]:0", "-c",
                                             "f.yaml", "--print-config"})
                               .ValueOrDie();
  EXPECT_EQ(line.values.at("cache.storage"), "none");
  EXPECT_EQ(line.values.at("cache.bind"), "[::1]:0");
  EXPECT_EQ(line.values.size(), 2);
  EXPECT_EQ(line.config_file, "f.yaml");
  EXPECT_TRUE(line.print_config);
  EXPECT_FALSE(line.help || line.version);
}

TEST(CommandLineTest, ValuesAreTakenAsTheyAre) {
  for (const char* value : {"", "[::1]", "[a,b]", "a,b", "a b", "'quoted'", "x=y"}) {
    const auto line = ParseCommandLine({"--storage", value});
    ASSERT_TRUE(line.ok()) << line.status();
    EXPECT_EQ(line->values.at("cache.storage"), value);
  }
}

TEST(CommandLineTest, LastOfSeveralCounts) {
  EXPECT_EQ(ParseCommandLine({"--storage", "a", "--storage", "b"})
                .ValueOrDie()
                .values.at("cache.storage"),
            "b");
}

TEST(CommandLineTest, EverySettingHasAFlag) {
  for (const Setting& setting : Settings()) {
    const auto line = ParseCommandLine({std::string(setting.flag), "value"});
    ASSERT_TRUE(line.ok()) << setting.flag;
    EXPECT_EQ(line->values.at(std::string(setting.path)), "value");
  }
}

TEST(CommandLineTest, UnknownFlagNamesTheNearest) {
  EXPECT_EQ(Error({"--storge", "none"}),
            "unknown option '--storge'; the nearest known one is '--storage'");
  EXPECT_EQ(Error({"--max-mem=1G"}),
            "unknown option '--max-mem'; the nearest known one is '--max-memory'");
  EXPECT_EQ(Error({"--help", "serve"}), "unexpected argument 'serve'");
}

TEST(CommandLineTest, MissingValueIsAnError) {
  EXPECT_THAT(Error({"--storage"}), HasSubstr("--storage"));
}

TEST(CommandLineTest, HelpNamesEverySettingAndFitsTheTerminal) {
  const std::string help = HelpText("1.2.3");
  for (const Setting& setting : Settings()) {
    EXPECT_THAT(help, HasSubstr(std::string(setting.flag) + " "));
    EXPECT_THAT(help, HasSubstr(setting.env));
  }
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 90) << line;
}

}  // namespace
}  // namespace flame
