// DecodedSize: how much memory a stream of Arrow IPC messages takes once it is decoded,
// from what the messages say and before anything is allocated. A few hundred bytes of
// zstd can stand for gigabytes, and so can dictionaries that grow batch by batch, because
// each batch keeps the whole dictionary of its time.
//
// Thread-compatible.
#pragma once

#include <cstdint>
#include <map>

#include <arrow/ipc/message.h>
#include <arrow/result.h>

namespace flame {

class DecodedSize {
 public:
  /// Count the next message of the stream. kInvalid if a compressed buffer is described
  /// wrongly.
  arrow::Status Add(const arrow::ipc::Message& message);
  /// Of all messages so far; at most 2^62.
  int64_t bytes() const { return bytes_; }

 private:
  struct Dictionary {
    int64_t bytes = 0;
    bool counted = false;  // No batch has come since it was counted with one.
  };

  int64_t bytes_ = 0;
  std::map<int64_t, Dictionary> dictionaries_;  // By id.
};

/// Whether the message's buffers are compressed.
bool IsCompressed(const arrow::ipc::Message& message);

/// A dictionary batch's id, and whether it adds to the dictionary before it. REQUIRES:
/// `message` is a dictionary batch. kInvalid if it has no header.
struct DictionaryHeader {
  int64_t id = 0;
  bool is_delta = false;
};
arrow::Result<DictionaryHeader> ReadDictionaryHeader(const arrow::ipc::Message& message);

}  // namespace flame
