#include "flame/session/shim_reply.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using google::protobuf::internal::WireFormatLite;

/// The message in field 1 if that is one, else the bytes themselves.
std::string_view Unwrapped(std::string_view bytes) {
  google::protobuf::io::CodedInputStream input(
      reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  std::string_view inner = bytes;
  while (const uint32_t tag = input.ReadTag()) {
    if (tag == WireFormatLite::MakeTag(1, WireFormatLite::WIRETYPE_LENGTH_DELIMITED)) {
      uint32_t size = 0;
      if (!input.ReadVarint32(&size)) return bytes;
      const auto start = static_cast<size_t>(input.CurrentPosition());
      if (size > bytes.size() - start) return bytes;
      inner = bytes.substr(start, size);
      if (!input.Skip(static_cast<int>(size))) return bytes;
    } else if (!WireFormatLite::SkipField(&input, tag)) {
      return bytes;
    }
  }
  return inner;
}

template <typename Message>
arrow::Result<Message> Parse(std::string_view bytes) {
  const std::string_view inner = Unwrapped(bytes);
  Message message;
  if (!message.ParseFromArray(inner.data(), static_cast<int>(inner.size())))
    return InvalidError("the service's answer cannot be read");
  return message;
}

}  // namespace

arrow::Result<v1::Result> ParseResultReply(std::string_view bytes) {
  return Parse<v1::Result>(bytes);
}

arrow::Result<v1::TaskResult> ParseTaskReply(std::string_view bytes) {
  return Parse<v1::TaskResult>(bytes);
}

}  // namespace flame
