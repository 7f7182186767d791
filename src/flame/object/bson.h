// Bson: small documents on the wire, over libbson. A writer that builds one, a reader
// that asks for typed fields and names what is wrong. Thread-compatible.
#pragma once

#include <bson/bson.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

namespace flame {

class BsonWriter {
 public:
  BsonWriter() { bson_init(&bson_); }
  ~BsonWriter() { bson_destroy(&bson_); }
  BsonWriter(const BsonWriter&) = delete;
  BsonWriter& operator=(const BsonWriter&) = delete;

  BsonWriter& Add(std::string_view name, std::string_view value);
  BsonWriter& Add(std::string_view name, const char* value) {
    return Add(name, std::string_view(value));
  }
  BsonWriter& Add(std::string_view name, int64_t value);
  BsonWriter& AddInt32(std::string_view name, int32_t value);
  BsonWriter& AddBool(std::string_view name, bool value);
  BsonWriter& AddBinary(std::string_view name, std::string_view value);
  BsonWriter& AddDocument(std::string_view name, const BsonWriter& value);
  BsonWriter& AddArray(std::string_view name,
                       const std::vector<std::unique_ptr<BsonWriter>>& values);

  std::string Finish() const {
    return {reinterpret_cast<const char*>(bson_get_data(&bson_)), bson_.len};
  }

 private:
  bson_t bson_;
};

/// Reads one document. Borrows the bytes that it was made from.
class BsonReader {
 public:
  /// kInvalid unless `bytes` is exactly one well-formed document (nested ones included).
  static arrow::Result<BsonReader> Open(std::string_view bytes);
  /// True if `bytes` can be a document at all: its own length first, NUL last. Keys hold
  /// no NUL, so never both.
  static bool LooksLikeOne(std::string_view bytes);

  /// nullopt when the field is absent or null; kInvalid, naming the field, when it has
  /// another type.
  arrow::Result<std::optional<std::string>> String(std::string_view name) const;
  arrow::Result<std::optional<int64_t>> Int(
      std::string_view name) const;  // int32 or int64.
  arrow::Result<std::optional<bool>> Bool(std::string_view name) const;
  arrow::Result<std::optional<std::string_view>> Binary(std::string_view name) const;
  /// The same for fields that must be there.
  arrow::Result<std::string> RequireString(std::string_view name) const;
  arrow::Result<std::vector<BsonReader>> RequireArray(std::string_view name) const;

 private:
  explicit BsonReader(std::string_view bytes) : bytes_(bytes) {}
  bool Find(std::string_view name, bson_iter_t* iter) const;

  std::string_view bytes_;
};

}  // namespace flame
