#include "python.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace flame {
namespace {

/// Asks a Python what it is, without importing anything large: version, whether the SDK
/// and gRPC are there, and the folder below `home` that has them if they are not.
constexpr char kQuestion[] = R"(
import os, sys
from importlib.util import find_spec
version = sys.version_info
def has():
    return find_spec("flamepy") is not None and find_spec("grpc") is not None
there, folder = has(), ""
if not there:
    folder = os.path.join(sys.argv[1], "lib", "python%d.%d" % version[:2], "site-packages")
    sys.path.append(folder)
    there = os.path.isdir(folder) and has()
print("%d.%d.%d" % version[:3], int(there))
print(folder)
)";

struct Answer {
  std::string version;  // Empty = it is no Python.
  bool has_sdk = false;
  std::string packages;
};

Answer Ask(const std::string& program, const std::string& home) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    const int nothing = open("/dev/null", O_RDWR);
    dup2(nothing, 0);
    dup2(ends[1], 1);
    dup2(nothing, 2);
    execl(program.c_str(), program.c_str(), "-c", kQuestion, home.c_str(), nullptr);
    _exit(127);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(got));
  close(ends[0]);
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) return {};
  Answer answer;
  std::istringstream lines(text);
  lines >> answer.version >> answer.has_sdk;
  lines.ignore(1);
  std::getline(lines, answer.packages);
  return answer;
}

bool Satisfies(const std::string& version, const std::string& wanted) {
  return version.starts_with(wanted) &&
         (wanted.empty() || version.size() == wanted.size() ||
          version[wanted.size()] == '.');
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Every executable of that name in the PATH, in its order.
std::vector<std::string> AllInPath(const std::string& name) {
  std::vector<std::string> found;
  std::istringstream folders(Variable("PATH"));
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string path = folder + "/" + name;
    if (!folder.empty() && access(path.c_str(), X_OK) == 0) found.push_back(path);
  }
  return found;
}

std::vector<std::string> Candidates(const PythonWish& wish) {
  if (!wish.path.empty()) return {wish.path};
  std::vector<std::string> found;
  const auto add = [&found](std::string path) {
    if (!path.empty() && std::find(found.begin(), found.end(), path) == found.end())
      found.push_back(std::move(path));
  };
  const std::string named = Variable("FLAME_PYTHON");
  add(named.find('/') == named.npos && !named.empty() ? InPath(named) : named);
  if (const std::string active = Variable("VIRTUAL_ENV"); !active.empty())
    add(active + "/bin/python");
  // "3.11.2" is python3.11.
  std::string minor = wish.version;
  if (std::count(minor.begin(), minor.end(), '.') == 2)
    minor.resize(minor.find_last_of('.'));
  for (const std::string& name :
       {"python" + minor, std::string("python3"), std::string("python")}) {
    for (std::string& path : AllInPath(name)) add(std::move(path));
  }
  return found;
}

}  // namespace

std::string InPath(const std::string& name) {
  const auto all = AllInPath(name);
  return all.empty() ? "" : all.front();
}

std::optional<PythonWish> ParsePythonWish(std::string_view text) {
  if (text.find('/') != text.npos) return PythonWish{std::string(text), ""};
  if (text.starts_with("python")) text.remove_prefix(6);
  if (text == "${FLAME_PYTHON_VERSION}") return PythonWish{};
  if (text.find_first_not_of("0123456789.") != text.npos ||
      (!text.empty() && (text.front() != '3' || text.back() == '.')) ||
      std::count(text.begin(), text.end(), '.') > 2)
    return std::nullopt;
  return PythonWish{"", std::string(text)};
}

PythonSearch FindPython(const PythonWish& wish, const std::string& home) {
  PythonSearch search;
  for (const std::string& program : Candidates(wish)) {
    const Answer answer = Ask(program, home);
    if (answer.version.empty()) {
      search.seen.push_back(program + " is no Python 3");
    } else if (!Satisfies(answer.version, wish.version)) {
      search.seen.push_back(program + " is Python " + answer.version);
    } else if (!answer.has_sdk) {
      search.seen.push_back(program + " (" + answer.version +
                            ") cannot import flamepy and grpc");
    } else {
      search.found = Python{program, answer.packages};
      return search;
    }
  }
  return search;
}

}  // namespace flame
