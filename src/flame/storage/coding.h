// Little-endian encoding of records into strings, and bounded decoding. For stores, and
// for what is packed in memory. Thread-compatible.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace flame {

static_assert(std::endian::native == std::endian::little, "records are little endian");

/// No version, floor or highest version that is read from a disk may be above: there must
/// be room to count on. Writers never come near, only damage and other programs do.
inline constexpr int64_t kMaxStoredVersion = int64_t{1} << 62;

/// Appends to a string that it borrows.
class Encoder {
 public:
  explicit Encoder(std::string* out) : out_(out) {}

  template <typename Integer>
  void Fixed(Integer value) {
    Append(&value, sizeof(value));
  }
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
      out_->push_back(static_cast<char>(value | 0x80));
    }
    out_->push_back(static_cast<char>(value));
  }
  /// Length and bytes.
  void String(std::string_view bytes) {
    Varint(bytes.size());
    Append(bytes.data(), bytes.size());
  }

 private:
  // Out of line: GCC 12 warns of bounds that it makes up when it inlines std::string into
  // sanitized code.
  void Append(const void* bytes, size_t size);

  std::string* out_;
};

/// Reads from bytes that it borrows. After the first failure every read fails and yields
/// zeros; ask ok() at the end.
class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : rest_(bytes) {}

  template <typename Integer>
  Integer Fixed() {
    Integer value{};
    if (!Has(sizeof(value))) return value;
    std::memcpy(&value, rest_.data(), sizeof(value));
    rest_.remove_prefix(sizeof(value));
    return value;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = Fixed<uint8_t>();
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) {
        // Only the shortest encoding: one value, one form.
        if ((shift > 0 && byte == 0) || (shift == 63 && byte > 1)) ok_ = false;
        return ok_ ? value : 0;
      }
    }
    ok_ = false;
    return 0;
  }
  std::string_view String() {
    const uint64_t size = Varint();
    if (!Has(size)) return {};
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }
  /// What is left, unread.
  std::string_view rest() const { return rest_; }
  bool ok() const { return ok_; }
  /// All read, and nothing wrong.
  bool Done() const { return ok_ && rest_.empty(); }

 private:
  bool Has(uint64_t size) {
    if (size > rest_.size()) ok_ = false;
    return ok_;
  }

  std::string_view rest_;
  bool ok_ = true;
};

/// Big endian, for keys that sort by number.
template <typename Integer>
std::string BigEndian(Integer value) {
  std::string bytes(sizeof(value), '\0');
  for (size_t i = 0; i < sizeof(value); ++i) {
    bytes[i] = static_cast<char>(value >> (8 * (sizeof(value) - 1 - i)));
  }
  return bytes;
}

/// The inverse. REQUIRES: bytes.size() >= sizeof(Integer).
template <typename Integer>
Integer FromBigEndian(std::string_view bytes) {
  Integer value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) {
    value = static_cast<Integer>(value << 8 | static_cast<uint8_t>(bytes[i]));
  }
  return value;
}

}  // namespace flame
