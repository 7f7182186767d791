// Records in RocksDB: rows, slot states, values, patches, file work.
#include "flame/storage/record.h"

#include <cstring>

#include "flame/object/key.h"
#include "flame/storage/coding.h"
#include "flame/storage/file_work.h"
#include "flame/storage/value_record.h"
#include "fuzz/fuzz.h"

namespace flame {
namespace {

/// What decodes has one encoding only: the bytes that it came from.
void CheckRow(std::string_view bytes) {
  const auto row = DecodeRow(bytes);
  if (!row.ok()) return;
  FUZZ_CHECK(row->version >= 0 && row->base_version <= row->version);
  FUZZ_CHECK(EncodeRow(Decoder(bytes.substr(1)).Fixed<uint16_t>(), *row) == bytes);
}

void CheckSlotState(std::string_view bytes) {
  const auto state = DecodeSlotState(bytes);
  if (!state.ok()) return;
  const auto slot = Decoder(bytes.substr(1)).Fixed<uint16_t>();
  FUZZ_CHECK(EncodeSlotState(slot, *state) == bytes);
}

void CheckValue(std::string_view bytes) {
  const auto value = DecodeValue(bytes);
  if (!value.ok()) return;
  const auto payload = Payload::Opaque({fuzz::Bytes(value->stored)});
  FUZZ_CHECK(EncodeValue(value->base_version, *payload).ValueOrDie() == bytes);
}

void CheckPatch(std::string_view bytes) {
  const auto patch = DecodePatch(bytes);
  if (!patch.ok() || patch->kind != Kind::kOpaque) return;
  const auto payload = Payload::Opaque({fuzz::Bytes(patch->stored)});
  FUZZ_CHECK(EncodePatch(patch->checksum, *payload, patch->blob).ValueOrDie() == bytes);
}

void CheckFileWork(std::string_view bytes) {
  const auto work = DecodeFileWork(bytes);
  if (work.ok()) FUZZ_CHECK(EncodeFileWork(*work) == bytes);
}

}  // namespace
}  // namespace flame

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr void (*kRecords[])(std::string_view) = {
      flame::CheckRow, flame::CheckSlotState, flame::CheckValue, flame::CheckPatch,
      flame::CheckFileWork};
  std::string_view bytes = flame::fuzz::Text(data, size);
  kRecords[flame::fuzz::TakeByte(&bytes) % std::size(kRecords)](bytes);
  return 0;
}
