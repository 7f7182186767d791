// Frontend: the gRPC door for clients. It decodes, asks the SessionManager, encodes; no
// rule about sessions lives here. Unary calls are answered on gRPC's threads, streams
// have none: a thousand watches cost memory only.
//
// Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include <arrow/result.h>

#include "flame/session/session_manager.h"
#include "flame/session/task_door.h"

namespace flame {

struct FrontendOptions {
  /// "127.0.0.1:8080" or "[::1]:0"; port 0 = any free one.
  std::string address;
  /// PEM texts; empty = without TLS.
  std::string certificates;
  std::string key;
  /// Bytes of a request.
  int max_message = 64 << 20;
  /// See dialect.h.
  bool strict_upstream = false;
  /// Served on the same address; borrowed, and outlives the door. Null = none.
  grpc::Service* more = nullptr;
  /// Made known to clients; borrowed, and outlives the door. Null = none.
  const TaskDoor* tasks = nullptr;
};

class Frontend {
 public:
  /// Serves when it returns. `manager` is borrowed and outlives the door.
  static arrow::Result<std::unique_ptr<Frontend>> Open(const FrontendOptions& options,
                                                       SessionManager* manager);
  ~Frontend();

  int port() const { return port_; }
  /// No new calls; those that run until `patience` are cut then.
  void Shutdown(std::chrono::milliseconds patience);

 private:
  class Service;
  Frontend();

  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace flame
