// Texts that clients of the session manager send: names, ids, command lines.
#include "flame/session/expand.h"
#include "flame/session/names.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace flame;  // NOLINT: a target is one function.
  const std::string_view text = fuzz::Text(data, size);
  if (CheckApplicationName(text).ok() || CheckSessionId(text).ok()) {
    // They become parts of paths.
    FUZZ_CHECK(!text.empty() && text.size() <= 256 && text != "." && text != "..");
    FUZZ_CHECK(text.find('/') == text.npos && text.find('\0') == text.npos);
  }
  if (const auto id = ParseTaskId(text); id.ok() && *id != 0) {
    FUZZ_CHECK(ParseTaskId(std::to_string(*id)).ValueOrDie() == *id);
  }
  const Expanded unchanged = ExpandVariables(text, {});
  FUZZ_CHECK(unchanged.text == text);
  const Expanded expanded = ExpandVariables(text, {{"A", "x"}, {"B_1", ""}});
  FUZZ_CHECK(expanded.text.size() <= text.size());
  return 0;
}
