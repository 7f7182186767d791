// What a service process finds: folders, files, environment, command line.
//
// Values and functions; InstanceFiles belongs to one executor.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

#include "flame/session/expand.h"
#include "flame/session/process.h"
#include "flame/v1/types.pb.h"

namespace flame {

/// What is the same for all instances of a server.
struct LaunchOptions {
  std::string work_dir;     // Instances without a working directory get a folder here.
  std::string socket_dir;   // Their sockets.
  std::string package_dir;  // What was installed for them; see packages.h.
  std::string python_dir;   // First in PYTHONPATH; see python_guard.h. Empty = none.
  std::string home = "/opt/flame";  // FLAME_HOME
  /// A folder with programs that stand in for those missing in FLAME_HOME/bin: flame-uv
  /// for uv, and the services of the start-up applications. Empty = none.
  std::string own_programs;
  std::string endpoint;            // FLAME_ENDPOINT
  std::string cache_endpoint;      // FLAME_CACHE_ENDPOINT; empty = there is no cache.
  std::string ca_file;             // FLAME_CA_FILE; empty = none.
  std::string log_level = "info";  // FLAME_LOG and RUST_LOG
  /// The server's own variables that services may see; see PassedOn().
  EnvironmentMap inherited;
};

/// Whether services get the server's variable `name`. What is not named here stays with
/// the server: its environment may hold credentials.
bool PassedOn(std::string_view name);

/// The folders and files of one instance.
class InstanceFiles {
 public:
  /// Creates them, for this user alone. The service's own working directory is created if
  /// it is missing, and kept.
  static arrow::Result<InstanceFiles> Create(const LaunchOptions& options,
                                             const std::string& executor,
                                             const v1::Application& application);
  /// Everything but the service's own working directory.
  void Remove() const;

  std::string socket;     // Not there yet; the service makes it.
  std::string directory;  // Where the process runs.
  std::string app_dir;    // Its own, with a folder tmp.
  std::string out_file;
  std::string err_file;
  bool own_directory = false;  // `directory` goes with the instance.
};

/// All variables of the process. `package` are those of the application's package, which
/// stand in front of its own.
EnvironmentMap BuildEnvironment(const LaunchOptions& options,
                                const v1::ApplicationSpec& spec,
                                const InstanceFiles& files,
                                const EnvironmentMap& package = {});

/// Program, arguments and the rest. An error says what is missing.
arrow::Result<ProcessSpec> BuildProcess(const LaunchOptions& options,
                                        const v1::ApplicationSpec& spec,
                                        const InstanceFiles& files,
                                        const EnvironmentMap& package = {});

/// Remove what a server that is gone left in the folders of `options`, processes first.
/// REQUIRES: no other server uses them.
void RemoveLeftovers(const LaunchOptions& options);

}  // namespace flame
