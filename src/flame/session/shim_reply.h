// What services answer, read leniently: services of the present and of a later protocol
// version answer with different messages, and both are understood.
//
// OnSessionEnter answers Result, later {Result, attributes}; OnTaskInvoke answers
// TaskResult, later {TaskResult, attributes}. In the first form field 1 is a number (or
// absent: 0), in the later one a message, so one look at the bytes tells.
#pragma once

#include <string_view>

#include <arrow/result.h>

#include "flame/v1/types.pb.h"

namespace flame {

/// kInvalid when the bytes are neither form.
arrow::Result<v1::Result> ParseResultReply(std::string_view bytes);
arrow::Result<v1::TaskResult> ParseTaskReply(std::string_view bytes);

}  // namespace flame
