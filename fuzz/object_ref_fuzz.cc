// References, as clients hand them on.
#include "flame/object/object_ref.h"

#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using flame::ObjectRef;
  const auto ref = ObjectRef::Decode(flame::fuzz::Text(data, size));
  if (!ref.ok()) return 0;
  FUZZ_CHECK(ref->version >= 0);
  const auto again = ObjectRef::Decode(ref->Encode());
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->endpoint == ref->endpoint && again->key == ref->key &&
             again->version == ref->version);
  return 0;
}
