// Keys, selections and text tickets: no byte string may name a place outside the storage.
#include "flame/object/key.h"

#include "fuzz/fuzz.h"

namespace flame {
namespace {

void CheckKey(const Key& key) {
  FUZZ_CHECK(key.is_object());
  FUZZ_CHECK(key.slot() == SlotOf(key.text()) && key.slot() < kSlots);
  FUZZ_CHECK(ClassifyKey(key.text()) == KeyClass::kObject);
  FUZZ_CHECK(Key::Parse(key.text()).ValueOrDie() == key);
  const auto ticket = TextTicket::Parse(TextTicket::For(key));
  FUZZ_CHECK(ticket.ok() && ticket->key == key && ticket->known == 0);
  FUZZ_CHECK(key.app() != ".flame");
  for (const std::string_view part : {key.app(), key.session(), key.object()}) {
    FUZZ_CHECK(!part.empty() && part.size() <= 255 && part != ".");
    FUZZ_CHECK(part.find("..") == part.npos && part.find('/') == part.npos);
    FUZZ_CHECK(part.find('\0') == part.npos && part.find('\\') == part.npos);
  }
}

}  // namespace
}  // namespace flame

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace flame;  // NOLINT: a target is one function.
  const std::string_view text = fuzz::Text(data, size);
  const auto key = Key::Parse(text);
  FUZZ_CHECK(key.ok() == (ClassifyKey(text) == KeyClass::kObject));
  if (key.ok()) CheckKey(*key);
  if (const auto writable = Key::ParseForWrite(text); writable.ok()) {
    FUZZ_CHECK(key.ok() && *writable == *key && key->CheckWritable().ok());
  }
  if (const auto target = PutTarget::Parse(text); target.ok()) {
    CheckKey(target->key);
    FUZZ_CHECK(target->key.CheckWritable().ok());
    FUZZ_CHECK(target->key.text().starts_with(text));
  }
  if (const auto selection = Selection::Parse(text); selection.ok()) {
    FUZZ_CHECK(selection->key.has_value() == selection->prefix.empty());
    if (selection->key) CheckKey(*selection->key);
    FUZZ_CHECK(selection->prefix.empty() || selection->prefix.back() == '/');
  }
  if (const auto ticket = TextTicket::Parse(text); ticket.ok()) {
    CheckKey(ticket->key);
    FUZZ_CHECK(ticket->known >= 0);
  }
  FUZZ_CHECK(Key::Plain(std::string(text)).text() == text);
  return 0;
}
