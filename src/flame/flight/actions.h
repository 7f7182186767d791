// Actions: the do_action half of the Flight door. Each takes the body's bytes and gives
// the results' bytes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/flight/types.h>

#include "flame/base/metrics.h"
#include "flame/cache/cache.h"
#include "flame/flight/call.h"
#include "flame/flight/reply_leases.h"
#include "flame/flight/service.h"

namespace flame {

/// What an action works with.
struct ActionCall {
  Cache* cache;
  Budget* budget;
  ReplyLeases* replies;
  DoorMetrics* metrics;
  const FlightServiceOptions& options;
  RequestContext context;
  std::shared_ptr<arrow::Buffer> body;              // Never null.
  std::shared_ptr<const Budget::Lease> lease = {};  // Of the body; by RunAction.

  std::string_view text() const {
    return {reinterpret_cast<const char*>(body->data()),
            static_cast<size_t>(body->size())};
  }
};

/// Run the action of this type. kInvalid, naming the known ones, for another. Results
/// that need not be held together are made one by one, later: what `call` borrows must
/// live as long as them.
arrow::Result<Results> RunAction(const std::string& type, ActionCall call);

/// What it is counted as.
DoorOperation OperationOf(const std::string& type);

/// Types and descriptions, for list_actions.
std::vector<arrow::flight::ActionType> KnownActions();

}  // namespace flame
