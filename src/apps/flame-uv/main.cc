// flame-uv: what the session manager starts where the command line of an application
// names $FLAME_HOME/bin/uv and no uv is installed there. It knows two commands of uv, and
// uses a Python that is on the machine; it downloads none and makes no environment.
// Exit codes: those of what it runs; 1 no such Python or program, 2 bad command line.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "python.h"

namespace flame {
namespace {

constexpr char kUsage[] =
    "flame-uv " FLAME_VERSION
    ", which comes with flame-session-manager, knows two commands of uv:\n"
    "  run --python VERSION COMMAND [ARGUMENT...]\n"
    "  pip install --python VERSION --target FOLDER [--link-mode copy] PROJECT...\n"
    "VERSION is python, python3.11 or 3.11.2, or the path of a Python. For anything else "
    "install uv as $FLAME_HOME/bin/uv: then that is used.\n";

using Arguments = std::vector<std::string>;

[[noreturn]] void Refuse(const std::string& reason) {
  std::fprintf(stderr, "flame-uv: %s\n%s", reason.c_str(), kUsage);
  std::exit(2);
}

/// Takes options off the front of a command line.
class Options {
 public:
  explicit Options(Arguments arguments) : rest_(std::move(arguments)) {}
  Arguments& rest() { return rest_; }
  bool AtOption() const { return !rest_.empty() && rest_.front().starts_with('-'); }

  /// True = the next option is `name`, and is taken.
  bool TakeFlag(const std::string& name) {
    if (rest_.empty() || rest_.front() != name) return false;
    rest_.erase(rest_.begin());
    return true;
  }
  /// The same for `name VALUE` and `name=VALUE`.
  bool TakeValue(const std::string& name, std::string* value) {
    if (!rest_.empty() && rest_.front().starts_with(name + "=")) {
      *value = rest_.front().substr(name.size() + 1);
      rest_.erase(rest_.begin());
      return true;
    }
    if (!TakeFlag(name)) return false;
    if (rest_.empty()) Refuse(name + " lacks its value");
    *value = rest_.front();
    rest_.erase(rest_.begin());
    return true;
  }

 private:
  Arguments rest_;
};

std::string Home() {
  if (const char* home = std::getenv("FLAME_HOME")) return home;
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return self.parent_path().parent_path().string();
}

/// One that will do, or the end of this process.
Python MustFind(const std::string& text) {
  const auto wish = ParsePythonWish(text);
  if (!wish) {
    Refuse("--python " + text + " is neither a version of Python 3 nor the path of one");
  }
  PythonSearch search = FindPython(*wish, Home());
  if (search.found) return *std::move(search.found);
  std::string seen;
  for (const std::string& line : search.seen) seen += "\n  " + line;
  if (seen.empty()) seen = "\n  there is no Python at all in the PATH";
  std::fprintf(
      stderr,
      "flame-uv: no Python here is %s and has the SDK. Name one in FLAME_PYTHON, "
      "or install the SDK in one: pip install 'flamepy[runner]'. Looked at:%s\n",
      wish->version.empty() && wish->path.empty() ? "Python 3" : text.c_str(),
      seen.c_str());
  std::exit(1);
}

/// What comes first is found first; nothing else of the variable changes.
void Prepend(const char* name, const std::string& value, bool first) {
  const char* before = std::getenv(name);
  const std::string old = before == nullptr ? "" : before;
  const std::string all = old.empty() ? value
                          : first     ? value + ":" + old
                                      : old + ":" + value;
  setenv(name, all.c_str(), /*overwrite=*/1);
}

[[noreturn]] void Become(const std::string& program, const Arguments& arguments) {
  std::vector<char*> pointers{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments)
    pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  execv(program.c_str(), pointers.data());
  std::fprintf(stderr, "flame-uv: execute %s: %s\n", program.c_str(),
               std::strerror(errno));
  std::exit(1);
}

void Enter(const Python& python) {
  const std::string folder = std::filesystem::path(python.program).parent_path().string();
  if (!folder.empty()) Prepend("PATH", folder, /*first=*/true);
  if (!python.packages.empty()) Prepend("PYTHONPATH", python.packages, /*first=*/false);
}

[[noreturn]] void Run(Options options) {
  std::string wanted;
  while (options.AtOption() && !options.TakeFlag("--")) {
    if (!options.TakeValue("--python", &wanted) && !options.TakeValue("-p", &wanted))
      Refuse("run does not know " + options.rest().front());
  }
  if (options.rest().empty()) Refuse("run lacks a command");
  const Python python = MustFind(wanted);
  Enter(python);
  const std::string command = options.rest().front();
  Arguments arguments(options.rest().begin() + 1, options.rest().end());
  if (command.find('/') == command.npos && command.starts_with("python") &&
      ParsePythonWish(command))
    Become(python.program, arguments);
  std::string program = command.find('/') == command.npos ? InPath(command) : command;
  if (program.empty()) {
    std::fprintf(stderr, "flame-uv: there is no program '%s' in the PATH\n",
                 command.c_str());
    std::exit(1);
  }
  Become(program, arguments);
}

[[noreturn]] void PipInstall(Options options) {
  std::string wanted, target, ignored;
  // A folder of packages is installed into again when its release is made anew.
  Arguments install{"-m",         "pip",      "install", "--disable-pip-version-check",
                    "--no-input", "--upgrade"};
  const std::set<std::string> same{"--no-build-isolation", "--no-deps", "--no-index"};
  while (options.AtOption() && !options.TakeFlag("--")) {
    if (options.TakeValue("--python", &wanted) || options.TakeValue("-p", &wanted) ||
        options.TakeValue("--target", &target) ||
        options.TakeValue("--link-mode", &ignored))
      continue;
    const std::string option = options.rest().front();
    if (!same.contains(option)) Refuse("pip install does not know " + option);
    options.TakeFlag(option);
    install.push_back(option);
  }
  if (target.empty()) Refuse("pip install lacks --target");
  if (options.rest().empty()) Refuse("pip install lacks a project");
  const Python python = MustFind(wanted);
  Enter(python);
  install.insert(install.end(), {"--target", target, "--"});
  install.insert(install.end(), options.rest().begin(), options.rest().end());
  Become(python.program, install);
}

int Main(Arguments arguments) {
  Options options(std::move(arguments));
  if (options.TakeFlag("--help") || options.TakeFlag("--version")) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  if (options.TakeFlag("run")) Run(std::move(options));
  if (options.TakeFlag("pip") && options.TakeFlag("install"))
    PipInstall(std::move(options));
  Refuse(options.rest().empty() ? "there is no command"
                                : "unknown command " + options.rest().front());
}

}  // namespace
}  // namespace flame

int main(int argc, char** argv) { return flame::Main({argv + 1, argv + argc}); }
