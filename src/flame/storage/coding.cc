#include "flame/storage/coding.h"

namespace flame {

void Encoder::Append(const void* bytes, size_t size) {
  out_->append(static_cast<const char*>(bytes), size);
}

}  // namespace flame
