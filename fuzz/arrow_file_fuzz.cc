// Arrow IPC files: ours, and those of any other program.
#include "flame/storage/arrow_file.h"

#include <arrow/type.h>

#include "fuzz/fuzz.h"

namespace flame {
namespace {

class MemoryFile final : public WritableFile {
 public:
  arrow::Status Write(const std::vector<std::string_view>& pieces) override {
    for (const std::string_view piece : pieces) bytes_ += piece;
    return arrow::Status::OK();
  }
  arrow::Status Close() override { return arrow::Status::OK(); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace
}  // namespace flame

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace flame;  // NOLINT: a target is one function.
  const auto bytes = fuzz::Bytes(fuzz::Text(data, size));
  for (const Kind kind : {Kind::kOpaque, Kind::kNative}) {
    if (const auto own = ReadArrowFile(kind, bytes); own.ok()) {
      ARROW_UNUSED(ChecksumOf(**own));
    }
  }
  const auto foreign = ReadForeignFile(bytes);
  if (!foreign.ok()) return 0;
  FUZZ_CHECK(foreign->version >= 0);
  // Taken in, it is written anew and read back.
  MemoryFile file;
  FUZZ_CHECK(WriteArrowFile(*foreign->payload, foreign->version, &file).ok());
  const auto own = ReadArrowFile(foreign->payload->kind(), fuzz::Bytes(file.bytes()));
  FUZZ_CHECK(own.ok());
  FUZZ_CHECK(ChecksumOf(**own) == ChecksumOf(*foreign->payload));
  return 0;
}
