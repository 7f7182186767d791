// KeyValueStore: keys and values, changed together or not at all. What the session
// manager keeps its state in; in memory, or on a disk where an acknowledged write
// survives the death of the process.
//
// Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

namespace flame {

class KeyValueStore {
 public:
  struct Change {
    std::string key;
    std::optional<std::string> value;  // nullopt = delete.
  };

  virtual ~KeyValueStore() = default;
  /// All of `changes`, in order, or an error and none of them. On a disk they survive
  /// `kill -9` when this returns. After a failure the store mends itself with a later
  /// write, when the disk takes data again.
  virtual arrow::Status Write(const std::vector<Change>& changes) = 0;
  /// nullopt = no such key.
  virtual arrow::Result<std::optional<std::string>> Get(std::string_view key) const = 0;
  /// Call `visit` for every key with `prefix`, in order, until it returns false or fails.
  /// It may not call the store.
  using Visitor =
      std::function<arrow::Result<bool>(std::string_view key, std::string_view value)>;
  virtual arrow::Status Visit(std::string_view prefix, const Visitor& visit) const = 0;
};

/// Gone with the object.
std::unique_ptr<KeyValueStore> OpenMemoryKeyValue();

/// Below `folder`, which is created for this user alone. Fails with one clear line when
/// another process has it open.
arrow::Result<std::unique_ptr<KeyValueStore>> OpenDiskKeyValue(const std::string& folder);

}  // namespace flame
