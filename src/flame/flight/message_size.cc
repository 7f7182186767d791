#include "flame/flight/message_size.h"

#include <arrow/array/data.h>
#include <arrow/util/key_value_metadata.h>

namespace flame {
namespace {

constexpr int64_t kNodeBytes = 256;   // An ArrayData with its vectors.
constexpr int64_t kFieldBytes = 100;  // A field's share of a schema message.

void Add(const arrow::ArrayData& data, std::unordered_set<const void*>* counted,
         BatchSize* size) {
  size->around += kNodeBytes;
  for (const auto& buffer : data.buffers) {
    if (buffer == nullptr) continue;
    size->bytes += buffer->size();
    const arrow::Buffer* root = buffer.get();
    while (root->parent() != nullptr) root = root->parent().get();
    // The memory and not the buffer: its address outlives what describes it.
    if (counted->insert(root->data()).second) size->memory += root->size();
  }
  for (const auto& child : data.child_data) Add(*child, counted, size);
  if (data.dictionary != nullptr && counted->insert(data.dictionary.get()).second)
    Add(*data.dictionary, counted, size);
}

int64_t MetadataBytes(const std::shared_ptr<const arrow::KeyValueMetadata>& metadata) {
  int64_t bytes = 0;
  if (metadata == nullptr) return bytes;
  for (int64_t i = 0; i < metadata->size(); ++i)
    bytes += std::ssize(metadata->key(i)) + std::ssize(metadata->value(i));
  return bytes;
}

int64_t FieldBytes(const arrow::Field& field) {
  int64_t bytes =
      kFieldBytes + std::ssize(field.name()) + MetadataBytes(field.metadata());
  for (const auto& child : field.type()->fields()) bytes += FieldBytes(*child);
  return bytes;
}

}  // namespace

BatchSize SizeOf(const arrow::RecordBatch& batch,
                 std::unordered_set<const void*>* counted) {
  std::unordered_set<const void*> own;
  BatchSize size;
  for (const auto& column : batch.column_data())
    Add(*column, counted != nullptr ? counted : &own, &size);
  return size;
}

int64_t SizeOf(const arrow::Schema& schema) {
  int64_t bytes = MetadataBytes(schema.metadata());
  for (const auto& field : schema.fields()) bytes += FieldBytes(*field);
  return bytes;
}

}  // namespace flame
