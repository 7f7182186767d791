// WorkFolder: a folder that belongs to this process alone while the object lives: its
// user's, closed to others, and locked. Instances of services live in it.
#pragma once

#include <memory>
#include <string>

#include <arrow/result.h>

namespace flame {

class WorkFolder {
 public:
  /// Creates it, and its parents, for this user alone. Fails with one clear line when
  /// another session manager has it or when it is another user's.
  static arrow::Result<std::unique_ptr<WorkFolder>> Claim(const std::string& path);
  /// Removes the lock, and the folder if nothing else is in it.
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

 private:
  WorkFolder(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}

  const std::string path_;
  const int lock_;
};

}  // namespace flame
