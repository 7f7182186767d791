// TaskDoor: tasks and their ends as frames on a Unix socket, for clients of this user on
// this machine: those of our SDK, which learn of it in the trailers of their gRPC calls
// (frontend.h). A call of gRPC costs a Python client several times as much.
//
// A frame is a length, four bytes, and as many bytes. Numbers are little-endian, texts
// and payloads go to the frame's end.
//
//   door    'H', 32 characters of key()         first of all: who answers here
//   client  'C', number u64, flags u8, length of the session's id u16, the id, the input
//           a task; `number` is the client's own. Flags: 1 = it has an input, 2 = say 'A'
//           at once
//   door    'A', number u64, task u64           it is stored; within some milliseconds
//   door    'R', number u64, code u32, text     refused, with a code of gRPC
//   door    'E', number u64, task u64, state u8, flags u8, the output
//           it has ended; says 'A' too. Flags: 1 = it has an output that follows.
//           Of one that did not succeed, other calls tell more
//
// Who breaks these rules is disconnected. Tasks go on when a client goes.
//
// Thread-safe. One thread of its own reads; who ends a task writes, if the client keeps
// up.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <arrow/result.h>

#include "flame/session/session_manager.h"

namespace flame {

struct TaskDoorOptions {
  std::string path;  // Of the socket; one that is there is replaced.
  /// Bytes of a frame from a client; a larger one is refused (RESOURCE_EXHAUSTED).
  size_t max_frame = 65 << 20;
  /// The next one is turned away, and goes to gRPC.
  size_t max_connections = 1000;
};

class TaskDoor {
 public:
  /// Serves when it returns. `manager` is borrowed and outlives the door.
  static arrow::Result<std::unique_ptr<TaskDoor>> Open(TaskDoorOptions options,
                                                       SessionManager* manager);
  /// Disconnects all, and removes the socket.
  ~TaskDoor();

  const std::string& path() const;
  /// No other door has it.
  const std::string& key() const;

 private:
  class Impl;
  explicit TaskDoor(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace flame
