#include "flame/object/key.h"

#include <uuid/uuid.h>

#include <array>
#include <limits>

#include <arrow/util/utf8.h>
#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {
namespace {

// A file name is at most 255 bytes; ".deltas" and temporaries need room.
constexpr size_t kMaxPartToWrite = 240;
constexpr size_t kMaxPartToRead = 255;

constexpr std::array<uint16_t, 256> MakeCrcTable() {
  std::array<uint16_t, 256> table{};
  for (int byte = 0; byte < 256; ++byte) {
    uint16_t crc = static_cast<uint16_t>(byte << 8);
    for (int bit = 0; bit < 8; ++bit) {
      crc = static_cast<uint16_t>((crc & 0x8000) ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    table[byte] = crc;
  }
  return table;
}

uint16_t Crc16(std::string_view bytes) {
  static constexpr auto kTable = MakeCrcTable();
  uint16_t crc = 0;
  for (unsigned char byte : bytes) {
    crc = static_cast<uint16_t>((crc << 8) ^ kTable[((crc >> 8) ^ byte) & 0xff]);
  }
  return crc;
}

/// Keys come from anywhere: show them printable and short.
std::string Shown(std::string_view text) {
  std::string shown;
  for (unsigned char c : text.substr(0, 100)) {
    if (c < 0x20 || c == 0x7f) {
      shown += fmt::format("\\x{:02x}", c);
    } else {
      shown += static_cast<char>(c);
    }
  }
  if (text.size() > 100) shown += "...";
  return shown;
}

arrow::Status BadKey(std::string_view text, std::string_view why) {
  return InvalidError(
      fmt::format("key '{}': {}; a key is app/session/object", Shown(text), why));
}

/// The empty string, or why `part` can't be part of any key.
std::string_view WhyUnreadable(std::string_view part) {
  if (part.empty()) return "a part is empty";
  if (part == ".") return "a part is '.'";
  if (part == "*") return "'*' stands only for the session of a DELETE";
  if (part.find("..") != part.npos) return "a part holds '..'";
  if (part.find('\\') != part.npos) return "a part holds '\\'";
  if (part.find('\0') != part.npos) return "a part holds NUL";
  if (part.size() > kMaxPartToRead) return "a part is longer than 255 bytes";
  return {};
}

std::string_view WhyUnwritable(std::string_view part) {
  if (part.size() > kMaxPartToWrite) return "a part is longer than 240 bytes";
  for (unsigned char c : part) {
    if (c < 0x20 || c == 0x7f) return "a part holds a control character";
  }
  return {};
}

struct Split {
  std::array<std::string_view, 3> parts;
  int count = 0;  // 4 = more than three.
};

Split SplitParts(std::string_view text) {
  Split split;
  while (true) {
    const size_t slash = text.find('/');
    if (split.count == 3) {
      split.count = 4;
      return split;
    }
    split.parts[split.count++] = text.substr(0, slash);
    if (slash == text.npos) return split;
    text.remove_prefix(slash + 1);
  }
}

arrow::Status CheckParts(std::string_view text, const Split& split) {
  arrow::util::InitializeUTF8();
  if (!arrow::util::ValidateUTF8(reinterpret_cast<const uint8_t*>(text.data()),
                                 static_cast<int64_t>(text.size()))) {
    return BadKey(text, "not UTF-8");
  }
  for (int i = 0; i < split.count && i < 3; ++i) {
    if (auto why = WhyUnreadable(split.parts[i]); !why.empty()) return BadKey(text, why);
  }
  if (split.parts[0] == ".flame")
    return BadKey(text, "the application '.flame' is reserved");
  return arrow::Status::OK();
}

std::string NewUuid() {
  uuid_t id;
  uuid_generate_random(id);
  char text[37];
  uuid_unparse_lower(id, text);
  return text;
}

}  // namespace

uint16_t SlotOf(std::string_view key) {
  const size_t open = key.find('{');
  if (open != key.npos) {
    const size_t close = key.find('}', open + 1);
    if (close != key.npos && close > open + 1)
      key = key.substr(open + 1, close - open - 1);
  }
  return Crc16(key) % kSlots;
}

KeyClass ClassifyKey(std::string_view bytes) {
  return Key::Parse(bytes).ok() ? KeyClass::kObject : KeyClass::kPlain;
}

Key::Key(std::string text, uint32_t session, uint32_t object)
    : text_(std::move(text)), session_(session), object_(object), slot_(SlotOf(text_)) {}

Key Key::Plain(std::string bytes) { return Key(std::move(bytes), 0, 0); }

Key Key::OfText(std::string_view text) {
  auto key = Parse(text);
  return key.ok() ? *std::move(key) : Plain(std::string(text));
}

arrow::Result<Key> Key::Parse(std::string_view text) {
  const Split split = SplitParts(text);
  ARROW_RETURN_NOT_OK(CheckParts(text, split));
  if (split.count != 3) {
    return BadKey(text, split.count < 3 ? "it has fewer than three parts"
                                        : "it has more than three parts");
  }
  return Key(std::string(text),
             static_cast<uint32_t>(split.parts[1].data() - text.data()),
             static_cast<uint32_t>(split.parts[2].data() - text.data()));
}

arrow::Result<Key> Key::ParseForWrite(std::string_view text) {
  ARROW_ASSIGN_OR_RAISE(Key key, Parse(text));
  ARROW_RETURN_NOT_OK(key.CheckWritable());
  return key;
}

arrow::Status Key::CheckWritable() const {
  if (!is_object()) return arrow::Status::OK();
  for (std::string_view part : {app(), session(), object()}) {
    if (auto why = WhyUnwritable(part); !why.empty()) return BadKey(text_, why);
  }
  return arrow::Status::OK();
}

arrow::Result<Selection> Selection::Parse(std::string_view text) {
  Split split = SplitParts(text);
  Selection selection;
  if (split.count == 2 && split.parts[1] == "*") {
    split.count = 1;
    ARROW_RETURN_NOT_OK(CheckParts(text, split));
    selection.prefix = fmt::format("{}/", split.parts[0]);
    return selection;
  }
  ARROW_RETURN_NOT_OK(CheckParts(text, split));
  if (split.count == 3) {
    ARROW_ASSIGN_OR_RAISE(selection.key, Key::Parse(text));
  } else if (split.count == 2) {
    selection.prefix = fmt::format("{}/", text);
  } else {
    return BadKey(text, "expected app/session/object, app/session or app/*");
  }
  return selection;
}

arrow::Result<PutTarget> PutTarget::Parse(std::string_view text) {
  const Split split = SplitParts(text);
  if (split.count == 2) {
    ARROW_RETURN_NOT_OK(CheckParts(text, split));
    ARROW_ASSIGN_OR_RAISE(Key key,
                          Key::ParseForWrite(fmt::format("{}/{}", text, NewUuid())));
    return PutTarget{std::move(key), true};
  }
  ARROW_ASSIGN_OR_RAISE(Key key, Key::ParseForWrite(text));
  return PutTarget{std::move(key), false};
}

arrow::Result<TextTicket> TextTicket::Parse(std::string_view text) {
  uint64_t known = 0;
  const size_t colon = text.rfind(':');
  if (colon != text.npos) {
    std::string_view digits = text.substr(colon + 1);
    if (!digits.empty() && digits.front() == '+') digits.remove_prefix(1);
    if (!digits.empty() && digits.find_first_not_of("0123456789") == digits.npos) {
      for (char digit : digits) {
        const uint64_t next = known * 10 + static_cast<uint64_t>(digit - '0');
        if (known > std::numeric_limits<uint64_t>::max() / 10 || next < known * 10) {
          return InvalidError(
              fmt::format("ticket '{}': the version is over 2^64-1", Shown(text)));
        }
        known = next;
      }
      text = text.substr(0, colon);
    }
  }
  ARROW_ASSIGN_OR_RAISE(Key key, Key::Parse(text));
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  return TextTicket{std::move(key), static_cast<int64_t>(std::min(known, kMax))};
}

std::string TextTicket::For(const Key& key) {
  const auto split = Parse(key.text());
  return split.ok() && split->key == key ? key.text() : key.text() + ":0";
}

}  // namespace flame
