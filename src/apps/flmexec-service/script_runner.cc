#include "script_runner.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/session/process.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr int64_t kTailBytes = 2000;
/// How often the size of what it writes is looked at.
constexpr milliseconds kLook{10};
/// In the environment of a script and of all that it starts: the script's folder.
constexpr char kMark[] = "FLMEXEC_FOLDER";

/// A new folder below TMPDIR, for this user alone; goes with the object.
class Folder {
 public:
  static Result<Folder> Make(const EnvironmentMap& environment) {
    const auto place = environment.find("TMPDIR");
    std::string path =
        (place == environment.end() ? "/tmp" : place->second) + "/flmexec-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) return ErrnoError(errno, "create", path);
    return Folder(std::move(path));
  }
  Folder(Folder&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  Folder& operator=(Folder&&) = delete;
  ~Folder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit Folder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

Status Write(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  return file ? Status::OK() : ErrnoError(errno, "write", path);
}

int64_t SizeOf(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

Status Invalid(std::string_view reason) {
  return InvalidError(fmt::format("InvalidScript: {}", reason));
}

}  // namespace

Result<std::string> ScriptRunner::Run(const flmexec::Script& script) const {
  const bool python = script.language() == "python" || script.language() == "python3";
  const bool shell = script.language() == "shell" || script.language() == "sh" ||
                     script.language() == "bash";
  if (!python && !shell)
    return Invalid(fmt::format("its language is '{}'; it must be shell or python",
                               script.language()));
  if (script.code().empty()) return Invalid("its code is empty");
  std::string input;
  for (const uint32_t byte : script.input()) {
    if (byte > 255) return Invalid(fmt::format("its input holds {}, no byte", byte));
    input += static_cast<char>(byte);
  }

  ARROW_ASSIGN_OR_RAISE(const Folder folder, Folder::Make(environment_));
  const std::string code = folder.path() + (python ? "/script.py" : "/script.sh");
  ProcessSpec process;
  process.input_file = folder.path() + "/in";
  process.output_file = folder.path() + "/out";
  process.error_file = folder.path() + "/err";
  process.directory = folder.path() + "/work";
  process.environment = environment_;
  process.environment[kMark] = folder.path();
  ARROW_RETURN_NOT_OK(Write(code, script.code()));
  ARROW_RETURN_NOT_OK(Write(process.input_file, input));
  std::error_code error;
  if (!fs::create_directory(process.directory, error))
    return ErrnoError(error.value(), "create", process.directory);
  if (python) {
    // The same choice of a Python as for services.
    process.program = programs_ + "/flame-uv";
    process.arguments = {"run", "--python", "python", "python", code};
    if (!script.runtime().empty()) process.arguments[2] = script.runtime();
  } else {
    std::string name = script.language() == "bash" ? "bash" : "sh";
    if (!script.runtime().empty()) name = script.runtime();
    if (name != "sh" && name != "bash")
      return Invalid(
          fmt::format("its runtime is '{}'; of shell scripts it is sh or bash", name));
    const auto path = environment_.find("PATH");
    ARROW_ASSIGN_OR_RAISE(
        process.program,
        FindProgram(name, path == environment_.end() ? "/usr/bin:/bin" : path->second));
    process.arguments = {code};
  }

  ARROW_ASSIGN_OR_RAISE(const auto child, ChildProcess::Start(process));
  const auto deadline = steady_clock::now() + limits_.time;
  const auto too_much = [&] {
    return std::max(SizeOf(process.output_file), SizeOf(process.error_file)) >
           limits_.output;
  };
  bool ended = false;
  while (!(ended = child->AwaitExit(kLook)) && !too_much() &&
         steady_clock::now() < deadline) {
  }
  const std::string how = ended ? child->HowItEnded() : "";
  child->End(milliseconds(0));
  KillByEnvironment(kMark, folder.path());  // What has left its process group.

  std::string tail = TailOf(process.error_file, kTailBytes);
  tail = tail.empty() ? "; it wrote nothing to standard error"
                      : "; the end of its standard error:\n" + tail;
  if (too_much()) {
    return MakeError(ErrorCode::kTooLarge,
                     fmt::format("OutputTooLarge: the script wrote more than {} bytes; "
                                 "put large results into the object cache{}",
                                 limits_.output, tail));
  }
  if (!ended) {
    return MakeError(ErrorCode::kTimeout,
                     fmt::format("ScriptTimeout: the script was ended after {} ms{}",
                                 limits_.time.count(), tail));
  }
  if (how != "it exited with code 0")
    return MakeError(ErrorCode::kIo, fmt::format("ScriptFailed: {}{}", how, tail));
  std::ifstream file(process.output_file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file),
                     std::istreambuf_iterator<char>());
}

}  // namespace flame
