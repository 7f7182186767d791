// Runs one script, in a folder and a process group of its own, of which nothing is left
// afterwards.
#pragma once

#include <chrono>
#include <string>

#include <arrow/result.h>

#include "flame/session/expand.h"
#include "script.pb.h"

namespace flame {

struct ScriptLimits {
  std::chrono::milliseconds time = std::chrono::minutes(5);
  /// Of standard output, and of standard error. As JSON it is up to four times as much,
  /// and the published client takes 4 MiB.
  int64_t output = 1'000'000;
};

class ScriptRunner {
 public:
  /// `environment` is that of scripts; `programs` the folder with flame-uv.
  ScriptRunner(EnvironmentMap environment, std::string programs, ScriptLimits limits)
      : environment_(std::move(environment)),
        programs_(std::move(programs)),
        limits_(limits) {}

  /// What the script wrote to its standard output. Errors start with a word for programs:
  /// InvalidScript, ScriptFailed, ScriptTimeout, OutputTooLarge.
  arrow::Result<std::string> Run(const flmexec::Script& script) const;

 private:
  const EnvironmentMap environment_;
  const std::string programs_;
  const ScriptLimits limits_;
};

}  // namespace flame
