// Actions: the do_action half of the Flight door. Each takes the body's bytes and gives
// the results' bytes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/flight/types.h>

#include "flame/cache/cache.h"
#include "flame/flight/service.h"

namespace flame {

/// What an action works with.
struct ActionCall {
  Cache* cache;
  const FlightServiceOptions& options;
  RequestContext context;
  std::shared_ptr<arrow::Buffer> body;  // Never null.

  std::string_view text() const {
    return {reinterpret_cast<const char*>(body->data()),
            static_cast<size_t>(body->size())};
  }
};

/// Run the action of this type. kInvalid, naming the known ones, for another.
arrow::Result<std::vector<std::string>> RunAction(const std::string& type,
                                                  ActionCall call);

/// Types and descriptions, for list_actions.
std::vector<arrow::flight::ActionType> KnownActions();

}  // namespace flame
