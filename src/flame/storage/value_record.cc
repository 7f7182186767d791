#include "flame/storage/value_record.h"

#include <arrow/io/interfaces.h>

#include "flame/base/error.h"
#include "flame/storage/coding.h"

namespace flame {
namespace {

constexpr uint8_t kFormat = 1;
enum class PatchPlace : uint8_t { kInline = 1, kBlob = 2 };

arrow::Status Corrupt(std::string_view record) {
  return MakeError(ErrorCode::kCorrupt,
                   "stored " + std::string(record) + ": unknown format or wrong length");
}

/// Appends to a string that it borrows.
class StringSink final : public arrow::io::OutputStream {
 public:
  explicit StringSink(std::string* out) : out_(out) {}
  arrow::Status Write(const void* data, int64_t size) override {
    out_->append(static_cast<const char*>(data), static_cast<size_t>(size));
    return arrow::Status::OK();
  }
  using Writable::Write;
  arrow::Status Close() override { return arrow::Status::OK(); }
  bool closed() const override { return false; }
  arrow::Result<int64_t> Tell() const override {
    return static_cast<int64_t>(out_->size());
  }

 private:
  std::string* const out_;
};

}  // namespace

arrow::Result<std::string> EncodeValue(Version base_version, const Payload& payload) {
  std::string bytes;
  bytes.reserve(static_cast<size_t>(StoredSize(payload)) + 16);
  Encoder encoder(&bytes);
  encoder.Fixed(kFormat);
  encoder.Fixed(base_version);
  StringSink sink(&bytes);
  ARROW_RETURN_NOT_OK(WriteStored(payload, &sink));
  return bytes;
}

arrow::Result<StoredValue> DecodeValue(std::string_view bytes) {
  Decoder decoder(bytes);
  const bool known = decoder.Fixed<uint8_t>() == kFormat;
  StoredValue value;
  value.base_version = decoder.Fixed<Version>();
  value.stored = decoder.rest();
  if (!known || !decoder.ok()) return Corrupt("value");
  return value;
}

arrow::Result<std::string> EncodePatch(uint64_t checksum, const Payload& payload,
                                       std::optional<uint64_t> blob) {
  std::string bytes;
  Encoder encoder(&bytes);
  encoder.Fixed(kFormat);
  encoder.Fixed(static_cast<uint8_t>(payload.kind()));
  encoder.Fixed(blob ? PatchPlace::kBlob : PatchPlace::kInline);
  encoder.Fixed(checksum);
  if (blob) {
    encoder.Fixed(*blob);
    return bytes;
  }
  StringSink sink(&bytes);
  ARROW_RETURN_NOT_OK(WriteStored(payload, &sink));
  return bytes;
}

arrow::Result<StoredPatch> DecodePatch(std::string_view bytes) {
  Decoder decoder(bytes);
  const bool known = decoder.Fixed<uint8_t>() == kFormat;
  const auto kind = decoder.Fixed<uint8_t>();
  const auto place = decoder.Fixed<uint8_t>();
  StoredPatch patch;
  patch.checksum = decoder.Fixed<uint64_t>();
  if (place == static_cast<uint8_t>(PatchPlace::kBlob)) {
    patch.blob = decoder.Fixed<uint64_t>();
    if (!decoder.Done()) return Corrupt("patch");
  } else if (place == static_cast<uint8_t>(PatchPlace::kInline)) {
    patch.stored = decoder.rest();
  } else {
    return Corrupt("patch");
  }
  if (!known || !decoder.ok() || kind > static_cast<uint8_t>(Kind::kNative)) {
    return Corrupt("patch");
  }
  patch.kind = static_cast<Kind>(kind);
  return patch;
}

arrow::Result<std::shared_ptr<arrow::Buffer>> CopyOf(std::string_view stored) {
  ARROW_ASSIGN_OR_RAISE(auto buffer,
                        arrow::AllocateBuffer(static_cast<int64_t>(stored.size())));
  std::copy(stored.begin(), stored.end(),
            reinterpret_cast<char*>(buffer->mutable_data()));
  return std::shared_ptr<arrow::Buffer>(std::move(buffer));
}

}  // namespace flame
