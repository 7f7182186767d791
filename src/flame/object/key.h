// Key: the name of an object, its parts, and the hash slot it lives in. Selection: the
// keys that a prefix names. Rules about names live here and nowhere else. Values:
// immutable, thread-compatible, no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <arrow/result.h>

namespace flame {

/// Keys are spread over this many hash slots, as in Redis Cluster.
inline constexpr int kSlots = 16384;

/// The hash slot of `key`: CRC16 (XMODEM) modulo 16,384; when the key holds a non-empty
/// `{tag}`, of the tag alone. Format: Redis Cluster specification, "Key distribution
/// model".
uint16_t SlotOf(std::string_view key);

/// An object key has exactly three valid parts `app/session/object`; any other byte
/// string is a plain key.
enum class KeyClass { kObject, kPlain };
KeyClass ClassifyKey(std::string_view bytes);

class Key {
 public:
  /// Read `text` as an object key. Lenient, because existing stores hold such keys: names
  /// that are merely unwise (control characters, 241 to 255 bytes) pass. kInvalid, with
  /// the offending part, for everything that could leave the storage or alias another
  /// key: a part that is empty, `.`, `*`, or holds `..`, `\` or NUL; the app `.flame`.
  static arrow::Result<Key> Parse(std::string_view text);
  /// The same, refusing also what new objects must not be called.
  static arrow::Result<Key> ParseForWrite(std::string_view text);
  /// A key of the key-value cache: any bytes.
  static Key Plain(std::string bytes);
  /// Of bytes that were a key's text(): an object key if they read as one, else plain.
  static Key OfText(std::string_view text);

  const std::string& text() const { return text_; }
  bool is_object() const { return object_ != 0; }
  uint16_t slot() const { return slot_; }
  /// Parts. REQUIRES: is_object(). Views into this key.
  std::string_view app() const { return std::string_view(text_).substr(0, session_ - 1); }
  std::string_view session() const {
    return std::string_view(text_).substr(session_, object_ - 1 - session_);
  }
  std::string_view object() const { return std::string_view(text_).substr(object_); }

  /// kInvalid if a new object must not be called so (see ParseForWrite).
  arrow::Status CheckWritable() const;

  bool operator==(const Key& other) const { return text_ == other.text_; }
  bool operator<(const Key& other) const { return text_ < other.text_; }

 private:
  Key(std::string text, uint32_t session, uint32_t object);

  std::string text_;
  uint32_t session_ = 0;  // Where the session starts in text_; 0 = a plain key.
  uint32_t object_ = 0;   // Where the object starts in text_; 0 = a plain key.
  uint16_t slot_ = 0;
};

/// What a DELETE or list names: one key, or every object key that starts with `prefix`.
struct Selection {
  /// `app/session/object`, `app/session`, or `app/*`. kInvalid for anything else.
  static arrow::Result<Selection> Parse(std::string_view text);

  std::optional<Key> key;  // One object, when set.
  std::string prefix;      // Otherwise: ends in `/`; empty = every object.
};

/// A put's target: a full key, or `app/session` under which the server draws an object
/// id.
struct PutTarget {
  static arrow::Result<PutTarget> Parse(std::string_view text);

  Key key;
  bool generated;  // The object part was drawn here: a random UUID, so the key is new for
                   // certain.
};

/// The stock dialect's ticket, `<key>` or `<key>:<version>`.
struct TextTicket {
  /// Split at the last `:` when digits (after an optional `+`) follow. kInvalid for a bad
  /// key or a version over 2^64-1; versions over 2^63-1, which none reaches, read as
  /// 2^63-1.
  static arrow::Result<TextTicket> Parse(std::string_view text);
  /// The ticket to hand out for `key`: with `:0` where the key alone would be split
  /// wrongly.
  static std::string For(const Key& key);

  Key key;
  int64_t known = 0;  // The version in the caller's hand; 0 = none.
};

}  // namespace flame

template <>
struct std::hash<flame::Key> {
  size_t operator()(const flame::Key& key) const noexcept {
    return std::hash<std::string>()(key.text());
  }
};
