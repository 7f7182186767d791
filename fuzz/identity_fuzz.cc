// The identity file, the anchor beside it, and the header of the runtime file.
#include "flame/storage/identity.h"

#include <xxhash.h>

#include <fmt/format.h>

#include "flame/storage/runtime_file.h"
#include "fuzz/fuzz.h"

namespace flame {
namespace {

void CheckIdentity(std::string_view text) {
  const auto identity = DecodeIdentity(text);
  if (!identity.ok() || !*identity) return;
  const auto again = DecodeIdentity(EncodeIdentity(**identity));
  FUZZ_CHECK(again.ok() && *again);
  FUZZ_CHECK((*again)->store_id == (*identity)->store_id);
  FUZZ_CHECK((*again)->session == (*identity)->session);
  FUZZ_CHECK((*again)->generation == (*identity)->generation);
  FUZZ_CHECK((*again)->clean_head == (*identity)->clean_head);
}

/// A fuzzer can't guess the checksum: it is put behind what it made.
void CheckSummedIdentity(std::string_view text) {
  CheckIdentity(
      fmt::format("{}xxh3 {:016x}\n", text, XXH3_64bits(text.data(), text.size())));
}

void CheckAnchor(std::string_view bytes) {
  const auto anchor = DecodeAnchor(bytes);
  if (anchor.ok()) FUZZ_CHECK(EncodeAnchor(*anchor) == bytes);
}

void CheckRuntime(std::string_view bytes) {
  ARROW_UNUSED(CheckRuntimeHeader(bytes, "runtime"));
}

}  // namespace
}  // namespace flame

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr void (*kParts[])(std::string_view) = {
      flame::CheckIdentity, flame::CheckSummedIdentity, flame::CheckAnchor,
      flame::CheckRuntime};
  std::string_view bytes = flame::fuzz::Text(data, size);
  kParts[flame::fuzz::TakeByte(&bytes) % std::size(kParts)](bytes);
  return 0;
}
