#include "flame/flight/ticket.h"

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/object/bson.h"

namespace flame {

arrow::Result<GetRequest> ParseTicket(std::string_view ticket) {
  if (BsonReader::LooksLikeOne(ticket)) {
    ARROW_ASSIGN_OR_RAISE(const BsonReader document, BsonReader::Open(ticket));
    ARROW_ASSIGN_OR_RAISE(const std::string text, document.RequireString("key"));
    ARROW_ASSIGN_OR_RAISE(const auto known, document.Int("known"));
    ARROW_ASSIGN_OR_RAISE(const auto compression, document.String("compression"));
    ARROW_ASSIGN_OR_RAISE(Key key, Key::Parse(text));
    GetRequest request{std::move(key), {known.value_or(0), /*document=*/true, {}}};
    if (request.reply.known < 0) return InvalidError("field 'known' is negative");
    if (compression) {
      if (*compression == "zstd") {
        request.reply.compression = arrow::Compression::ZSTD;
      } else if (*compression == "lz4") {
        request.reply.compression = arrow::Compression::LZ4_FRAME;
      } else {
        return InvalidError(fmt::format(
            "field 'compression' is '{}'; it must be zstd or lz4", *compression));
      }
    }
    return request;
  }
  ARROW_ASSIGN_OR_RAISE(TextTicket parsed, TextTicket::Parse(ticket));
  const bool whole = parsed.key.text().size() == ticket.size();
  GetRequest request{std::move(parsed.key), {parsed.known, false, {}}};
  request.bad_suffix = whole && request.key.object().find(':') != std::string_view::npos;
  return request;
}

}  // namespace flame
