#include "flame/object/object_ref.h"

#include "flame/base/error.h"
#include "flame/object/bson.h"
#include "flame/object/key.h"

namespace flame {

std::string ObjectRef::Encode() const {
  return BsonWriter()
      .Add("endpoint", endpoint)
      .Add("key", key)
      .Add("version", version)
      .Finish();
}

arrow::Result<ObjectRef> ObjectRef::Decode(std::string_view bson) {
  ARROW_ASSIGN_OR_RAISE(const BsonReader reader, BsonReader::Open(bson));
  ObjectRef ref;
  ARROW_ASSIGN_OR_RAISE(ref.endpoint, reader.RequireString("endpoint"));
  ARROW_ASSIGN_OR_RAISE(ref.key, reader.RequireString("key"));
  ARROW_RETURN_NOT_OK(Key::Parse(ref.key).status());
  ARROW_ASSIGN_OR_RAISE(const auto version, reader.Int("version"));
  ref.version = version.value_or(0);
  if (ref.version < 0) return InvalidError("a reference's version is negative");
  return ref;
}

}  // namespace flame
