#include "flame/session/text.h"

#include <arrow/util/utf8.h>

namespace flame {

bool IsUtf8(std::string_view text) {
  arrow::util::InitializeUTF8();  // Once; Arrow's own look-up table.
  return arrow::util::ValidateUTF8(text);
}

std::string MadeUtf8(std::string text) {
  if (IsUtf8(text)) return text;
  for (char& c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return text;
}

}  // namespace flame
