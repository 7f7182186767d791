// BSON documents: tickets, commands, action bodies.
#include "flame/object/bson.h"

#include <cstring>

#include "fuzz/fuzz.h"

namespace flame {
namespace {

/// Every field that a request can have, as every type.
void ReadFields(const BsonReader& document) {
  for (const char* name : {"key", "op", "kind", "data", "op_id", "retry", "items",
                           "if_version", "known", "compression", "limit", "cursor"}) {
    if (const auto text = document.String(name); text.ok() && *text) {
      FUZZ_CHECK(document.RequireString(name).ValueOrDie() == **text);
    }
    if (const auto binary = document.Binary(name); binary.ok() && *binary) {
      // Every byte must be there to be read.
      std::string copy(**binary);
      FUZZ_CHECK(copy.size() == (*binary)->size());
    }
    const auto number = document.Int(name);
    const auto flag = document.Bool(name);
    FUZZ_CHECK(!(number.ok() && *number && flag.ok() && *flag));
  }
}

}  // namespace
}  // namespace flame

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto document = flame::BsonReader::Open(flame::fuzz::Text(data, size));
  if (!document.ok()) return 0;
  FUZZ_CHECK(flame::BsonReader::LooksLikeOne(flame::fuzz::Text(data, size)));
  flame::ReadFields(*document);
  if (const auto items = document->RequireArray("items"); items.ok()) {
    for (const auto& item : *items) flame::ReadFields(item);
  }
  return 0;
}
