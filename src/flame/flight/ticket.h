// Tickets: what a do_get asks for, in both dialects.
#pragma once

#include <string_view>

#include <arrow/result.h>

#include "flame/flight/reply.h"
#include "flame/object/key.h"

namespace flame {

struct GetRequest {
  Key key;
  ReplyOptions reply;
  // A text ticket with something after the last `:` that is no version.
  bool bad_suffix = false;
};

/// A BSON document, or `<key>` or `<key>:<version>`. kInvalid, saying what is wrong.
arrow::Result<GetRequest> ParseTicket(std::string_view ticket);

}  // namespace flame
