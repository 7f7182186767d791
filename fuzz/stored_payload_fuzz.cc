// Native payloads as they lie in a store, after the checksum: messages that may be those
// of another schema, damaged, or compressed.
#include <arrow/io/memory.h>
#include <arrow/type.h>

#include "flame/object/payload.h"
#include "fuzz/fuzz.h"

namespace flame {
namespace {

std::shared_ptr<arrow::Schema> SchemaOf(uint8_t choice) {
  const auto words = arrow::dictionary(arrow::int32(), arrow::utf8());
  switch (choice % 4) {
    case 0:
      return arrow::schema({arrow::field("n", arrow::int64())});
    case 1:
      return arrow::schema({arrow::field("s", arrow::utf8())});
    case 2:
      return arrow::schema({arrow::field("d", words)});
    default:
      return arrow::schema({arrow::field("l", arrow::list(arrow::utf8_view())),
                            arrow::field("t", arrow::struct_({{"d", words}}))});
  }
}

}  // namespace
}  // namespace flame

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace flame;  // NOLINT: a target is one function.
  std::string_view bytes = fuzz::Text(data, size);
  const auto choice = fuzz::TakeByte(&bytes);
  ARROW_UNUSED(DecodeSchema(fuzz::Bytes(bytes)));
  const auto schema = SchemaOf(choice);
  const auto payload = ReadStored(Kind::kNative, schema, fuzz::Bytes(bytes));
  if (!payload.ok()) return 0;
  ARROW_UNUSED(DecodeNative(schema, (*payload)->frames(), /*validate=*/true));
  auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
  FUZZ_CHECK(WriteStored(**payload, sink.get()).ok());
  const auto written = sink->Finish().ValueOrDie();
  FUZZ_CHECK(written->size() == StoredSize(**payload));
  FUZZ_CHECK(ChecksumOf(*written) == ChecksumOf(**payload));
  const auto again = ReadStored(Kind::kNative, schema, written);
  FUZZ_CHECK(again.ok() && (*again)->frames().size() == (*payload)->frames().size());
  return 0;
}
