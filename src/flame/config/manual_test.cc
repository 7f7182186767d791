// What people read about the settings says what the table says.
#include <fstream>
#include <iterator>
#include <regex>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/config/fake_host.h"
#include "flame/config/load.h"
#include "flame/config/manager_settings.h"
#include "flame/config/settings.h"

namespace flame {
namespace {

std::string Content(const std::string& path) {
  std::ifstream file(std::string(FLAME_ROOT) + "/" + path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Its row in the manual.
std::string Row(const Setting& setting) {
  std::string help(setting.help);
  for (size_t bar = 0; (bar = help.find('|', bar)) != std::string::npos; bar += 2)
    help.insert(bar, "\\");
  return fmt::format("| `{}` | `{}` | `{}` | {} | {} |", setting.path.substr(6),
                     setting.flag, setting.env,
                     setting.usual.empty() ? "-" : setting.usual, help);
}

TEST(ManualTest, EverySettingHasItsRow) {
  const std::string manual = Content("docs/operating/configuration.md");
  for (const Setting& setting : Settings()) {
    EXPECT_THAT(manual, ::testing::HasSubstr(Row(setting)))
        << "add this row to docs/operating/configuration.md";
  }
}

TEST(ManualTest, EverySettingOfTheSessionManagerIsInItsPage) {
  const std::string manual = Content("docs/operating/session-manager.md");
  for (const ManagerSetting& setting : ManagerSettings()) {
    EXPECT_THAT(manual, ::testing::HasSubstr(fmt::format(
                            "| `{}` | `{}` | `{}` | {} | {} |", setting.path,
                            setting.flag, setting.env,
                            setting.usual.empty() ? "-" : setting.usual, setting.help)))
        << "add this row to docs/operating/session-manager.md";
  }
}

TEST(ManualTest, SampleFileNamesEveryKey) {
  const std::string sample = Content("deploy/flame-cluster.yaml");
  for (const Setting& setting : Settings()) {
    EXPECT_THAT(sample, ::testing::HasSubstr(fmt::format("{}: ", setting.key())))
        << setting.path;
  }
}

TEST(ManualTest, SampleFileLoadsWithoutWarnings) {
  FakeHost host;
  host.files["sample"] = Content("deploy/flame-cluster.yaml");
  const Startup startup = LoadServerConfig({"-c", "sample"}, "0", host);
  if (const auto* exit = std::get_if<Exit>(&startup)) FAIL() << exit->text;
  const auto& config = std::get<ServerConfig>(startup);
  EXPECT_THAT(config.warnings, ::testing::IsEmpty());
  EXPECT_EQ(config.AdvertisedUrl(config.bind.port), "grpc://127.0.0.1:9090");
}

/// So that uncommenting a line cannot break the file.
TEST(ManualTest, SampleFileLoadsWithEveryLineUncommented) {
  FakeHost host;
  const std::regex commented_key("\n( +)# ([a-z_]+: )");
  const std::string text =
      std::regex_replace(Content("deploy/flame-cluster.yaml"), commented_key, "\n$1$2");
  host.files["sample"] = text;
  const Startup startup = LoadServerConfig({"-c", "sample"}, "0", host);
  if (const auto* exit = std::get_if<Exit>(&startup)) FAIL() << exit->text << text;
  for (const Setting& setting : Settings()) {
    EXPECT_TRUE(std::get<ServerConfig>(startup).IsGiven(setting.path)) << setting.path;
  }
}

}  // namespace
}  // namespace flame
