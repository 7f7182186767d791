#include "flame/storage/file_compression.h"

namespace flame {
using arrow::Result;

Result<std::optional<std::vector<Frame>>> CompressFrames(
    const Payload& native, const FileCompression& compression) {
  if (!compression.Wants(native.size())) return std::nullopt;
  ARROW_ASSIGN_OR_RAISE(const auto batches, DecodeNative(native.schema(), native.frames(),
                                                         /*validate=*/false));
  // A reader decompresses into batches and encodes them anew: that must give what the
  // checksum is over.
  ARROW_ASSIGN_OR_RAISE(const auto again, EncodeNative(native.schema(), batches));
  if (ChecksumOf(*again) != ChecksumOf(native)) return std::nullopt;
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::util::Codec> codec,
                        arrow::util::Codec::Create(compression.codec));
  ARROW_ASSIGN_OR_RAISE(const auto small,
                        EncodeNative(native.schema(), batches, std::move(codec)));
  if (!compression.IsWorthIt(StoredSize(native), StoredSize(*small))) return std::nullopt;
  return small->frames();
}

}  // namespace flame
