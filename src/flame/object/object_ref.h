// ObjectRef: what a put hands back, and its BSON form that existing clients decode.
#pragma once

#include <cstdint>
#include <string>

#include <arrow/buffer.h>
#include <arrow/result.h>

namespace flame {

struct ObjectRef {
  std::string endpoint;  // URL of the server, as clients reach it.
  std::string key;       // app/session/object.
  int64_t version = 0;

  /// BSON with exactly three elements, the version as int64: clients pass all elements on
  /// as keyword arguments.
  std::string Encode() const;
  /// Accepts int32 and int64 versions, a missing one as 0. kInvalid otherwise.
  static arrow::Result<ObjectRef> Decode(std::string_view bson);
};

}  // namespace flame
