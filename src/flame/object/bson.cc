#include "flame/object/bson.h"

#include <cstring>

#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {
namespace {

int Length(std::string_view text) { return static_cast<int>(text.size()); }

arrow::Status WrongType(std::string_view name, std::string_view wanted) {
  return InvalidError(fmt::format("field '{}' of the request must be {}", name, wanted));
}

arrow::Status Missing(std::string_view name) {
  return InvalidError(fmt::format("field '{}' of the request is missing", name));
}

}  // namespace

BsonWriter& BsonWriter::Add(std::string_view name, std::string_view value) {
  bson_append_utf8(&bson_, name.data(), Length(name), value.data(), Length(value));
  return *this;
}
BsonWriter& BsonWriter::Add(std::string_view name, int64_t value) {
  bson_append_int64(&bson_, name.data(), Length(name), value);
  return *this;
}
BsonWriter& BsonWriter::AddInt32(std::string_view name, int32_t value) {
  bson_append_int32(&bson_, name.data(), Length(name), value);
  return *this;
}
BsonWriter& BsonWriter::AddBool(std::string_view name, bool value) {
  bson_append_bool(&bson_, name.data(), Length(name), value);
  return *this;
}
BsonWriter& BsonWriter::AddBinary(std::string_view name, std::string_view value) {
  bson_append_binary(&bson_, name.data(), Length(name), BSON_SUBTYPE_BINARY,
                     reinterpret_cast<const uint8_t*>(value.data()),
                     static_cast<uint32_t>(value.size()));
  return *this;
}
BsonWriter& BsonWriter::AddDocument(std::string_view name, const BsonWriter& value) {
  bson_append_document(&bson_, name.data(), Length(name), &value.bson_);
  return *this;
}
BsonWriter& BsonWriter::AddArray(std::string_view name,
                                 const std::vector<std::unique_ptr<BsonWriter>>& values) {
  bson_t array;
  bson_append_array_begin(&bson_, name.data(), Length(name), &array);
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string index = std::to_string(i);
    bson_append_document(&array, index.data(), Length(index), &values[i]->bson_);
  }
  bson_append_array_end(&bson_, &array);
  return *this;
}

bool BsonReader::LooksLikeOne(std::string_view bytes) {
  if (bytes.size() < 5 || bytes.back() != '\0') return false;
  uint32_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  return BSON_UINT32_FROM_LE(length) == bytes.size();
}

arrow::Result<BsonReader> BsonReader::Open(std::string_view bytes) {
  bson_t document;
  if (!LooksLikeOne(bytes) ||
      !bson_init_static(&document, reinterpret_cast<const uint8_t*>(bytes.data()),
                        bytes.size()) ||
      !bson_validate(&document, BSON_VALIDATE_UTF8, nullptr)) {
    return InvalidError("the request is not a well-formed BSON document");
  }
  return BsonReader(bytes);
}

bool BsonReader::Find(std::string_view name, bson_iter_t* iter) const {
  bson_t document;
  return bson_init_static(&document, reinterpret_cast<const uint8_t*>(bytes_.data()),
                          bytes_.size()) &&
         bson_iter_init(iter, &document) &&
         bson_iter_find_w_len(iter, name.data(), Length(name)) &&
         !BSON_ITER_HOLDS_NULL(iter);
}

arrow::Result<std::optional<std::string>> BsonReader::String(
    std::string_view name) const {
  bson_iter_t iter;
  if (!Find(name, &iter)) return std::nullopt;
  if (!BSON_ITER_HOLDS_UTF8(&iter)) return WrongType(name, "a string");
  uint32_t length = 0;
  const char* text = bson_iter_utf8(&iter, &length);
  return std::string(text, length);
}

arrow::Result<std::optional<int64_t>> BsonReader::Int(std::string_view name) const {
  bson_iter_t iter;
  if (!Find(name, &iter)) return std::nullopt;
  if (!BSON_ITER_HOLDS_INT32(&iter) && !BSON_ITER_HOLDS_INT64(&iter)) {
    return WrongType(name, "an integer");
  }
  return bson_iter_as_int64(&iter);
}

arrow::Result<std::optional<bool>> BsonReader::Bool(std::string_view name) const {
  bson_iter_t iter;
  if (!Find(name, &iter)) return std::nullopt;
  if (!BSON_ITER_HOLDS_BOOL(&iter)) return WrongType(name, "a boolean");
  return bson_iter_bool(&iter);
}

arrow::Result<std::optional<std::string_view>> BsonReader::Binary(
    std::string_view name) const {
  bson_iter_t iter;
  if (!Find(name, &iter)) return std::nullopt;
  if (!BSON_ITER_HOLDS_BINARY(&iter)) return WrongType(name, "binary");
  bson_subtype_t subtype;
  uint32_t length = 0;
  const uint8_t* data = nullptr;
  bson_iter_binary(&iter, &subtype, &length, &data);
  return std::string_view(reinterpret_cast<const char*>(data), length);
}

arrow::Result<std::vector<BsonReader>> BsonReader::RequireArray(
    std::string_view name) const {
  std::vector<BsonReader> documents;
  bson_iter_t iter;
  if (!Find(name, &iter)) return Missing(name);
  bson_iter_t child;
  if (!BSON_ITER_HOLDS_ARRAY(&iter) || !bson_iter_recurse(&iter, &child)) {
    return WrongType(name, "an array of documents");
  }
  while (bson_iter_next(&child)) {
    if (!BSON_ITER_HOLDS_DOCUMENT(&child))
      return WrongType(name, "an array of documents");
    uint32_t length = 0;
    const uint8_t* data = nullptr;
    bson_iter_document(&child, &length, &data);
    documents.push_back(BsonReader({reinterpret_cast<const char*>(data), length}));
  }
  return documents;
}

arrow::Result<std::string> BsonReader::RequireString(std::string_view name) const {
  ARROW_ASSIGN_OR_RAISE(auto value, String(name));
  if (!value)
    return InvalidError(fmt::format("field '{}' of the request is missing", name));
  return *std::move(value);
}

}  // namespace flame
