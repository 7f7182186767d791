// Dialect: where the door speaks as the existing server does, to the letter
// (--strict-upstream), for those who test a client against it; else as we think better.
// The differences are a table in docs/internals/sessions.md.
//
// Thread-safe: constant.
#pragma once

#include <arrow/status.h>
#include <grpcpp/support/status.h>

#include "flame/v1/types.pb.h"

namespace flame {

class Dialect {
 public:
  explicit Dialect(bool strict) : strict_(strict) {}

  bool strict() const { return strict_; }
  /// An error, or OK.
  grpc::Status StatusOf(const arrow::Status& status) const;
  /// How a watch ends that cannot go on.
  grpc::Status EndOfWatch(const arrow::Status& status) const;
  /// Whether a watch leaves out this task, which is the state at its beginning.
  bool Skips(const v1::Task& task) const;
  /// What clients see of a task that is one of a stream.
  void Streamed(v1::Task* task) const;
  /// ... that is a single answer.
  void Answered(v1::Task* task) const;
  /// `changed` = the answer to a call that changes or opens the session.
  void Answered(v1::Session* session, bool changed) const;

 private:
  const bool strict_;
};

}  // namespace flame
