// RemoteResults: removes what a session has left in an object cache, over the network:
// whichever cache it is, its door is the one way in.
//
// Thread-safe.
#pragma once

#include <memory>
#include <string>

#include <arrow/flight/client.h>
#include <arrow/result.h>

#include "flame/base/mutex.h"

namespace flame {

class RemoteResults {
 public:
  /// `ca_file` is PEM and may be empty. Connects when it is needed.
  RemoteResults(std::string url, std::string ca_file)
      : url_(std::move(url)), ca_file_(std::move(ca_file)) {}

  /// Remove every object of the session. Again is fine.
  arrow::Status Remove(const std::string& application, const std::string& session);

 private:
  arrow::Status Connect() REQUIRES(mutex_);

  const std::string url_;
  const std::string ca_file_;
  Mutex mutex_;  // Held while a call runs: one at a time is enough.
  std::unique_ptr<arrow::flight::FlightClient> client_ GUARDED_BY(mutex_);
};

}  // namespace flame
