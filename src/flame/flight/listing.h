// Lister: objects in key order, fetched from the cache in small pages as they are asked
// for, so that a listing of any length holds little.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "flame/cache/cache.h"

namespace flame {

/// Thread-compatible. Objects that come or go meanwhile may be missed.
class Lister {
 public:
  /// Objects whose keys start with `prefix` and come after `after`. `cache` is borrowed.
  Lister(Cache* cache, RequestContext context, std::string prefix, std::string after = "")
      : cache_(cache),
        context_(std::move(context)),
        prefix_(std::move(prefix)),
        after_(std::move(after)) {}

  /// nullopt after the last one.
  arrow::Result<std::optional<ObjectStat>> Next();

 private:
  Cache* const cache_;
  const RequestContext context_;
  const std::string prefix_;
  std::string after_;
  std::vector<ObjectStat> page_;
  size_t next_ = 0;
};

}  // namespace flame
