// Serves tasks in C++: the other side of ShimClient, for the small services that come
// with the session manager.
#pragma once

#include <string>

#include <arrow/result.h>

#include "flame/v1/shim.pb.h"

namespace flame {

/// What an instance does. Called for one task after the other, from any thread.
class TaskService {
 public:
  virtual ~TaskService() = default;
  /// The output of a task; an error's message is what its caller gets.
  virtual arrow::Result<std::string> Invoke(const v1::TaskContext& task) = 0;
};

/// Listen on the socket that FLAME_INSTANCE_ENDPOINT names, for this user alone, until
/// the process is stopped. Returns only when that cannot be done.
arrow::Status ServeTasks(TaskService* service);

}  // namespace flame
