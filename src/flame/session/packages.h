// Packages: what applications with an installer need on this machine. A package is
// fetched, unpacked and installed once, by a Python program in a process of its own, and
// shared by the instances of its application; it goes when nobody uses it any more.
//
// Thread-safe. An installation runs on the thread of whoever came first; those who come
// meanwhile wait for it.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <arrow/result.h>

#include "flame/base/mutex.h"
#include "flame/session/expand.h"
#include "flame/session/process.h"
#include "flame/v1/types.pb.h"

namespace flame {

struct PackageOptions {
  /// Ours alone; what is left there by an earlier server is removed at the start.
  std::string directory;
  /// The Python that installs, unless the application asks for a version: a path, or a
  /// name in the PATH of `environment`. It must have flamepy.
  std::string python = "python3";
  /// flame-uv, which then chooses the Python, as it does for services. Empty = none.
  std::string launcher;
  /// For fetching, unpacking and installing together.
  std::chrono::milliseconds timeout = std::chrono::minutes(15);
  /// The installer's output is cut when it grows beyond this.
  int64_t log_limit = 1 << 20;
  /// Of the installer's process.
  EnvironmentMap environment;
};

/// The variable by which a process of an installation is recognised.
inline constexpr char kInstallVariable[] = "FLAME_INSTALL_DIRECTORY";

/// Whether the application has a package to install; kInvalid for an unknown installer.
arrow::Result<bool> NeedsPackage(const v1::ApplicationSpec& spec);

class Packages {
 public:
  /// `is_open` tells whether a session is open. It is called under the lock.
  Packages(PackageOptions options, std::function<bool(const std::string&)> is_open);
  /// REQUIRES: no Use is left.
  ~Packages();
  Packages(const Packages&) = delete;
  Packages& operator=(const Packages&) = delete;

  /// An instance's share of a package.
  class Use {
   public:
    Use() = default;
    Use(Use&& other) noexcept { *this = std::move(other); }
    Use& operator=(Use&& other) noexcept;
    ~Use();
    /// What the instance has in front of its variables of the same names.
    const EnvironmentMap& environment() const { return environment_; }

   private:
    friend class Packages;
    Packages* packages_ = nullptr;
    std::string key_, session_;
    EnvironmentMap environment_;
  };

  /// Have the package installed, for an instance of `session`. While it lasts `go_on` is
  /// asked every now and then; Cancelled when it says no, or when somebody else's attempt
  /// has just failed: whoever made it reports it. REQUIRES: NeedsPackage().
  arrow::Result<Use> Acquire(const v1::Application& application,
                             const std::string& session,
                             const std::function<bool()>& go_on);
  /// The variables of the application's package before it is installed, apart from where
  /// its modules and programs lie; nullopt where nobody can know. Runs a Python, while
  /// `go_on` says so.
  std::optional<EnvironmentMap> Foresee(const v1::ApplicationSpec& spec,
                                        const std::function<bool()>& go_on) const;
  /// It uses packages no more, apart from instances that are still leaving.
  void SessionClosed(const std::string& session);

 private:
  struct Package {
    std::string directory;
    bool installed = false;
    uint64_t failures = 0;
    int waiting = 0;  // Acquire() calls that have it in hand.
    EnvironmentMap environment;
    std::map<std::string, int>
        instances;  // By session; also of those that have none now.
  };
  using Map = std::map<std::string, std::shared_ptr<Package>>;

  /// A process of the Python that installs, without arguments for it.
  arrow::Result<ProcessSpec> InstallingPython(const v1::ApplicationSpec& spec,
                                              const std::string& directory) const;
  arrow::Status MakeDirectory(const std::string& directory) const;
  arrow::Result<EnvironmentMap> Install(const v1::Application& application,
                                        const std::string& directory,
                                        const std::function<bool()>& go_on) const;
  void Release(const std::string& key, const std::string& session);
  /// The directory of a package that nobody uses; empty = somebody does.
  std::string ForgetIfUnused(Map::iterator at) REQUIRES(mutex_);
  void RemoveDirectory(const std::string& directory) const;

  const PackageOptions options_;
  const std::function<bool(const std::string&)> is_open_;

  mutable Mutex mutex_;
  CondVar changed_;
  Map packages_ GUARDED_BY(mutex_);
};

}  // namespace flame
