// What fuzz targets share. A target calls a decoder that network or disk bytes reach: it
// may refuse anything, and must do no harm. Where there is an encoder, what was decoded
// must survive it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

#include <arrow/buffer.h>

/// One input; called by libFuzzer, or by replay.cc for each file of the corpus.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

/// Ends the program, as a crash would, when a promise of the decoder does not hold.
#define FUZZ_CHECK(condition)                                                      \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

namespace flame::fuzz {

inline std::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Borrows.
inline std::shared_ptr<arrow::Buffer> Bytes(std::string_view text) {
  return std::make_shared<arrow::Buffer>(text);
}

/// Takes the first byte off `text`, for targets with several decoders; 0 when empty.
inline uint8_t TakeByte(std::string_view* text) {
  if (text->empty()) return 0;
  const auto byte = static_cast<uint8_t>(text->front());
  text->remove_prefix(1);
  return byte;
}

}  // namespace flame::fuzz
