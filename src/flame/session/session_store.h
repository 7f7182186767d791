// SessionStore: applications, sessions and tasks in a KeyValueStore. It keeps what it is
// given and knows no rule about states. Every call is one step: all of it survives, or
// nothing. What is in memory only (a task is running, an instance is starting) is never
// here. Encoding: docs/internals/sessions.md.
//
// Thread-safe. A session is named by its serial number, which no other session ever has,
// so what an interrupted deletion left behind belongs to nobody.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "flame/storage/key_value.h"
#include "flame/v1/types.pb.h"

namespace flame {

struct StoredSession {
  uint64_t serial = 0;
  v1::Session session;  // The counters of its status are not kept.
};

/// A task without its session's id, input and output.
struct StoredTask {
  uint64_t serial = 0;  // Of the session.
  uint64_t id = 0;
  v1::TaskState state = v1::Pending;
};

class SessionStore {
 public:
  explicit SessionStore(std::unique_ptr<KeyValueStore> store)
      : store_(std::move(store)) {}

  struct Contents {
    std::vector<v1::Application> applications;
    std::vector<StoredSession> sessions;  // By serial.
    std::vector<StoredTask> tasks;        // By serial, then id.
  };
  /// Everything but the payloads; removes what an interrupted deletion left behind.
  /// kCorrupt, naming the record, when one cannot be read.
  arrow::Result<Contents> Load();

  arrow::Status PutApplication(const v1::Application& application);
  arrow::Status DeleteApplication(const std::string& name);
  arrow::Status PutSession(const StoredSession& session);
  /// With tasks of it that changed; of these, inputs and outputs stay as they are.
  arrow::Status PutSession(const StoredSession& session,
                           const std::vector<v1::Task>& tasks);
  arrow::Status DeleteSession(uint64_t serial);
  /// With its input, if it has one.
  arrow::Status CreateTask(uint64_t serial, uint64_t id, const v1::Task& task);
  /// With its output, if it has one; its input stays as it is.
  arrow::Status FinishTask(uint64_t serial, uint64_t id, const v1::Task& task);
  /// nullopt = no such task. Without `payloads` an input and output that are there are
  /// empty.
  arrow::Result<std::optional<v1::Task>> ReadTask(uint64_t serial, uint64_t id,
                                                  bool payloads = true) const;
  /// One payload alone; nullopt = the task has none.
  arrow::Result<std::optional<std::string>> ReadInput(uint64_t serial, uint64_t id) const;
  arrow::Result<std::optional<std::string>> ReadOutput(uint64_t serial,
                                                       uint64_t id) const;

 private:
  arrow::Result<std::optional<std::string>> ReadPayload(std::string_view kind,
                                                        uint8_t flag, uint64_t serial,
                                                        uint64_t id) const;
  arrow::Status DeleteTasks(uint64_t serial);

  const std::unique_ptr<KeyValueStore> store_;
};

}  // namespace flame
