// What services answer to the session manager.
#include "flame/session/shim_reply.h"

#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace flame;  // NOLINT: a target is one function.
  const std::string_view bytes = fuzz::Text(data, size);
  if (const auto result = ParseResultReply(bytes); result.ok()) {
    const auto again = ParseResultReply(result->SerializeAsString());
    FUZZ_CHECK(again.ok() && again->return_code() == result->return_code());
  }
  if (const auto result = ParseTaskReply(bytes); result.ok()) {
    const auto again = ParseTaskReply(result->SerializeAsString());
    FUZZ_CHECK(again.ok() && again->has_output() == result->has_output());
  }
  return 0;
}
