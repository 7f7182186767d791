// RequestContext: what a door knows about a call, handed to every Cache call.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "flame/object/key.h"
#include "flame/storage/record.h"

namespace flame {

struct RequestContext {
  std::string principal;  // Who asks; empty = anonymous.
  std::string trace;      // Request id for logs.
  /// When the caller stops waiting; unset = never.
  std::optional<std::chrono::steady_clock::time_point> deadline;
  std::function<bool()> cancelled;  // True once the caller went away; may be empty.
  std::optional<OpId> op_id;        // Writes: the same id is applied once.
  bool retry = false;               // Writes: this op_id may have been sent before.
};

enum class Operation { kGet, kStat, kList, kPut, kPatch, kDelete, kFeed };

/// Says who may do what. Called once per operation and key, by Cache. Thread-safe.
class Authorizer {
 public:
  virtual ~Authorizer() = default;
  /// kDenied, or OK. `key` is a key, or a prefix for kList, kFeed and prefix deletes.
  virtual arrow::Status Authorize(const std::string& principal, Operation operation,
                                  std::string_view key) const = 0;
};

/// Everybody may do everything.
class AllowAll final : public Authorizer {
 public:
  arrow::Status Authorize(const std::string&, Operation,
                          std::string_view) const override {
    return arrow::Status::OK();
  }
};

}  // namespace flame
