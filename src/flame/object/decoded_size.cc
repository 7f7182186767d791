#include "flame/object/decoded_size.h"

#include <algorithm>
#include <cstring>

#include <arrow/buffer.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::ipc::Message;

constexpr int64_t kMost = int64_t{1} << 62;

// Fields, as Message.fbs numbers them.
constexpr int kDictionaryData = 1;
constexpr int kBuffers = 2;
constexpr int kCompression = 3;

int64_t Sum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? kMost : std::min(sum, kMost);
}

template <typename Scalar>
Scalar Load(const uint8_t* at) {
  Scalar value{};
  std::memcpy(&value, at, sizeof(value));
  return value;
}

/// A field of a flatbuffers table; null when it has its default. Arrow's verifier has
/// been over the message: what it points to is there. Format: FlatBuffers internals,
/// "Tables".
const uint8_t* Field(const uint8_t* table, int field) {
  const uint8_t* vtable = table - Load<int32_t>(table);
  const int entry = 4 + 2 * field;
  if (entry + 2 > Load<uint16_t>(vtable)) return nullptr;
  const auto offset = Load<uint16_t>(vtable + entry);
  return offset == 0 ? nullptr : table + offset;
}

/// What an offset field points to: a table or a vector.
const uint8_t* Target(const uint8_t* field) { return field + Load<uint32_t>(field); }

/// Of the body that `batch`, a RecordBatch table, describes. Schema: Message.fbs.
Result<int64_t> BodyBytes(const uint8_t* batch, const arrow::Buffer& body) {
  constexpr int64_t kPrefix = 8;  // Of a compressed buffer: its true length; -1 = plain.
  const uint8_t* buffers = Field(batch, kBuffers);
  if (Field(batch, kCompression) == nullptr || buffers == nullptr) return body.size();
  const uint8_t* vector = Target(buffers);
  int64_t bytes = 0;
  for (uint32_t i = 0; i < Load<uint32_t>(vector); ++i) {
    const uint8_t* buffer = vector + 4 + 16 * size_t{i};
    const auto offset = Load<int64_t>(buffer);
    const auto length = Load<int64_t>(buffer + 8);
    if (length == 0) continue;
    if (offset < 0 || length < kPrefix || offset > body.size() ||
        length > body.size() - offset) {
      return InvalidError("a compressed buffer lies outside its message");
    }
    const auto claimed = Load<int64_t>(body.data() + offset);
    if (claimed < -1) return InvalidError("a compressed buffer has a negative length");
    bytes = Sum(bytes, claimed == -1 ? length - kPrefix : claimed);
  }
  return bytes;
}

/// The verifier lets a message pass that says what its header is and has none.
Result<const uint8_t*> HeaderOf(const Message& message) {
  if (message.header() == nullptr) return InvalidError("a message without its header");
  return static_cast<const uint8_t*>(message.header());
}

}  // namespace

bool IsCompressed(const Message& message) {
  const auto* batch = static_cast<const uint8_t*>(message.header());
  if (message.type() == arrow::ipc::MessageType::DICTIONARY_BATCH && batch != nullptr) {
    const uint8_t* data = Field(batch, kDictionaryData);
    batch = data == nullptr ? nullptr : Target(data);
  } else if (message.type() != arrow::ipc::MessageType::RECORD_BATCH) {
    return false;
  }
  return batch != nullptr && Field(batch, kCompression) != nullptr;
}

Result<DictionaryHeader> ReadDictionaryHeader(const Message& message) {
  ARROW_ASSIGN_OR_RAISE(const uint8_t* header, HeaderOf(message));
  const uint8_t* id = Field(header, 0);
  const uint8_t* is_delta = Field(header, 2);
  return DictionaryHeader{id != nullptr ? Load<int64_t>(id) : 0,
                          is_delta != nullptr && *is_delta != 0};
}

arrow::Status DecodedSize::Add(const Message& message) {
  static const arrow::Buffer kNoBody(nullptr, 0);
  const arrow::Buffer& body = message.body() != nullptr ? *message.body() : kNoBody;
  if (message.type() == arrow::ipc::MessageType::RECORD_BATCH) {
    ARROW_ASSIGN_OR_RAISE(const uint8_t* batch, HeaderOf(message));
    ARROW_ASSIGN_OR_RAISE(const int64_t bytes, BodyBytes(batch, body));
    bytes_ = Sum(bytes_, bytes);
    for (auto& [id, dictionary] : dictionaries_) {
      if (!std::exchange(dictionary.counted, true)) {
        bytes_ = Sum(bytes_, dictionary.bytes);
      }
    }
  } else if (message.type() == arrow::ipc::MessageType::DICTIONARY_BATCH) {
    ARROW_ASSIGN_OR_RAISE(const auto header, ReadDictionaryHeader(message));
    const uint8_t* data =
        Field(static_cast<const uint8_t*>(message.header()), kDictionaryData);
    if (data == nullptr) return InvalidError("a dictionary message without data");
    ARROW_ASSIGN_OR_RAISE(const int64_t bytes, BodyBytes(Target(data), body));
    Dictionary& dictionary = dictionaries_[header.id];
    // What no batch has kept yet is still there while it is added to.
    bytes_ = Sum(bytes_, bytes);
    dictionary = {header.is_delta ? Sum(dictionary.bytes, bytes) : bytes, false};
  }
  return arrow::Status::OK();
}

}  // namespace flame
