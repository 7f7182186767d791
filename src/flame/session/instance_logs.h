// InstanceLogs: what instances write to their standard output and error: the files of
// those that run, and of the last ones of each session that have ended.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "flame/base/mutex.h"

namespace flame {

struct InstanceLogOptions {
  /// Ours alone; emptied at the start, gone at the end. Kept files lie there.
  std::string directory;
  /// Instances that have ended, of one session; 0 = none is kept.
  int64_t keep = 4;
  /// Bytes of all kept files together; the longest ended make room.
  int64_t keep_bytes = 64 << 20;
};

/// One file.
struct InstanceLog {
  std::string instance, session, application;
  bool is_error = false;
  int64_t size = 0;
  int64_t start_ms = 0;           // Wall clock, of the instance.
  std::optional<int64_t> end_ms;  // nullopt while it runs.
  bool cut = false;               // Its beginning is gone.
};

class InstanceLogs {
 public:
  explicit InstanceLogs(InstanceLogOptions options);
  ~InstanceLogs();
  InstanceLogs(const InstanceLogs&) = delete;
  InstanceLogs& operator=(const InstanceLogs&) = delete;

  void Started(const std::string& instance, const std::string& session,
               const std::string& application, const std::string& out_file,
               const std::string& err_file, int64_t now_ms);
  /// A file was cut while the instance runs.
  void Cut(const std::string& instance, bool is_error);
  /// Keeps its files, which may go when this returns.
  void Ended(const std::string& instance, int64_t now_ms);

  /// In the order in which the instances were started; empty texts = any.
  std::vector<InstanceLog> List(const std::string& session, const std::string& instance,
                                const std::string& application) const;
  /// A descriptor to read from, the caller's; it goes on when the file is moved or
  /// removed. kNotFound when nothing is known of it any more.
  arrow::Result<int> Open(const std::string& instance, bool is_error) const;

 private:
  struct File {
    std::string path;
    int64_t size = 0;  // Once it has ended.
    bool cut = false;
  };
  struct Instance {
    std::string id, session, application;
    int64_t start_ms = 0;
    std::optional<int64_t> end_ms;
    File files[2];  // Standard output, standard error.
  };

  /// The oldest ended ones, until what is left is within the limits.
  void Prune() REQUIRES(mutex_);
  void Remove(std::list<Instance>::iterator at) REQUIRES(mutex_);

  const InstanceLogOptions options_;
  mutable Mutex mutex_;  // Held while a kept file is removed.
  std::list<Instance> instances_ GUARDED_BY(mutex_);
};

}  // namespace flame
