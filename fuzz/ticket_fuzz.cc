// Tickets of do_get and descriptors of do_put, in both dialects.
#include "flame/flight/ticket.h"

#include <arrow/flight/types.h>

#include "flame/flight/upload.h"
#include "fuzz/fuzz.h"

namespace flame {
namespace {

using arrow::flight::FlightDescriptor;

void CheckTicket(std::string_view bytes) {
  const auto get = ParseTicket(bytes);
  if (!get.ok()) return;
  FUZZ_CHECK(get->key.is_object() && get->reply.known >= 0);
  FUZZ_CHECK(!(get->bad_suffix && get->reply.document));
}

void CheckPut(const FlightDescriptor& descriptor) {
  const auto put = PutRequest::Parse(descriptor);
  if (!put.ok()) return;
  FUZZ_CHECK(put->target.key.is_object());
  FUZZ_CHECK(put->op_id || !put->retry);
  if (put->op == PutRequest::Op::kPut) {
    FUZZ_CHECK(put->target.key.CheckWritable().ok());
  } else {
    FUZZ_CHECK(!put->target.generated);
  }
}

void CheckCommand(std::string_view bytes) {
  CheckPut(FlightDescriptor::Command(std::string(bytes)));
}

/// Parts of the path are separated by newlines.
void CheckPath(std::string_view bytes) {
  std::vector<std::string> parts(1);
  for (const char c : bytes) {
    if (c == '\n') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  CheckPut(FlightDescriptor::Path(std::move(parts)));
}

void CheckOpId(std::string_view bytes) {
  FUZZ_CHECK(ParseOpId(bytes).ok() == (bytes.size() == 16));
}

}  // namespace
}  // namespace flame

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr void (*kParts[])(std::string_view) = {flame::CheckTicket, flame::CheckCommand,
                                                  flame::CheckPath, flame::CheckOpId};
  std::string_view bytes = flame::fuzz::Text(data, size);
  kParts[flame::fuzz::TakeByte(&bytes) % std::size(kParts)](bytes);
  return 0;
}
