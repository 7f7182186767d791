#include "flame/config/command_line.h"

#include <algorithm>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "flame/base/error.h"
#include "flame/config/nearest_name.h"
#include "flame/config/settings.h"

namespace flame {
namespace {

constexpr size_t kLineWidth = 90;
constexpr size_t kIndent = 6;

arrow::Status UnknownArgument(const std::string& argument) {
  if (argument.rfind('-', 0) != 0)
    return InvalidError(fmt::format("unexpected argument '{}'", argument));
  std::vector<std::string_view> flags{"--config", "--help", "--version",
                                      "--print-config"};
  for (const Setting& setting : Settings()) {
    flags.push_back(setting.flag);
    if (!setting.other_flag.empty()) flags.push_back(setting.other_flag);
  }
  const std::string flag = argument.substr(0, argument.find('='));
  return InvalidError(fmt::format("unknown option '{}'; the nearest known one is '{}'",
                                  flag, NearestName(flag, flags)));
}

/// `text` in lines of at most kLineWidth, each indented.
std::string Wrapped(std::string_view text) {
  std::string result;
  size_t column = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    if (column != 0 && column + 1 + end > kLineWidth) {
      result += '\n';
      column = 0;
    }
    result += column == 0 ? std::string(kIndent, ' ') : " ";
    column = (column == 0 ? kIndent : column + 1) + end;
    result += text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result + "\n";
}

}  // namespace

arrow::Result<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments) {
  CommandLine line;
  std::string config_file;
  std::map<std::string_view, std::string> values;

  CLI::App app;
  app.set_help_flag();
  app.allow_extras();  // Reported here, with the nearest flag.
  app.add_flag("-h,--help", line.help);
  app.add_flag("-V,--version", line.version);
  app.add_flag("--print-config", line.print_config);
  const CLI::Option* config = app.add_option("-c,--config", config_file)->take_last();
  for (const Setting& setting : Settings()) {
    std::string names(setting.flag);
    if (!setting.other_flag.empty()) names += fmt::format(",{}", setting.other_flag);
    app.add_option(names, values[setting.path])->take_last();
  }
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(),
                                       arguments.rend()));  // It takes them reversed.
  } catch (const CLI::ParseError& error) {
    return InvalidError(error.what());
  }
  if (const auto unknown = app.remaining(); !unknown.empty())
    return UnknownArgument(unknown.front());

  if (config->count() > 0) line.config_file = config_file;
  for (const Setting& setting : Settings()) {
    if (app.count(std::string(setting.flag)) > 0)
      line.values.emplace(setting.path, values[setting.path]);
  }
  return line;
}

std::string HelpText(std::string_view version) {
  std::string text = fmt::format(
      "flame-object-cache {}: a versioned, Arrow-native object cache\n"
      "\n"
      "Usage: flame-object-cache [OPTIONS]\n"
      "\n"
      "Every setting is a flag, an environment variable (on the right) and a key of the\n"
      "configuration file; a flag beats the variable, that the file, that the default.\n"
      "Sizes: 65536, 64K, 1.5GiB (powers of 1024). Durations: 500ms, 10s, 24h.\n"
      "\n"
      "  -c, --config PATH\n"
      "      Configuration file. Default: ~/.flame/flame-cluster.yaml, if it is there.\n"
      "  --print-config\n"
      "      Print the settings and where each comes from, as a configuration file, and "
      "exit.\n"
      "  -h, --help\n"
      "  -V, --version\n",
      version);
  std::string_view group;
  for (const Setting& setting : Settings()) {
    if (setting.group != group) text += fmt::format("\n{}:\n", setting.group);
    group = setting.group;
    const std::string flag = fmt::format("  {} {}", setting.flag, setting.value);
    const std::string also =
        setting.shared_env.empty() ? "" : fmt::format(", {}", setting.shared_env);
    text += fmt::format("{:<40} {}{}\n", flag, setting.env, also);
    const std::string usual =
        setting.usual.empty() ? "" : fmt::format(" [default: {}]", setting.usual);
    const std::string other =
        setting.other_flag.empty() ? "" : fmt::format(" Also {}.", setting.other_flag);
    text += Wrapped(fmt::format("{}{}{}", setting.help, other, usual));
  }
  return text;
}

}  // namespace flame
