// Native payloads as they arrive in an item: a whole Arrow IPC stream of somebody else's.
#include "flame/object/payload.h"

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace flame;  // NOLINT: a target is one function.
  const auto payload = DecodeIpcStream(fuzz::Bytes(fuzz::Text(data, size)));
  if (!payload.ok()) return 0;
  // What was accepted can be served, and a client that reads it gets the same.
  const auto batches = DecodeNative((*payload)->schema(), (*payload)->frames(),
                                    /*validate=*/true);
  FUZZ_CHECK(batches.ok());
  const auto stream = EncodeIpcStream(*DressNative((*payload)->schema(), 1), **payload);
  FUZZ_CHECK(stream.ok());
  const auto again = DecodeIpcStream(*stream);
  FUZZ_CHECK(again.ok());
  const auto same =
      DecodeNative((*again)->schema(), (*again)->frames(), /*validate=*/false);
  FUZZ_CHECK(same.ok() && same->size() == batches->size());
  const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
  for (size_t i = 0; i < same->size(); ++i) {
    FUZZ_CHECK((*same)[i]->Equals(*(*batches)[i], /*check_metadata=*/true, options));
  }
  // Its stored form has the length and the sum that the store will write down.
  const auto schema = DecodeSchema(EncodeSchema(*(*payload)->schema()).ValueOrDie());
  FUZZ_CHECK(schema.ok());
  FUZZ_CHECK(ChecksumOf(**payload) == ChecksumOf(**payload));
  return 0;
}
