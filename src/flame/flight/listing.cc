#include "flame/flight/listing.h"

namespace flame {
namespace {

// Schemas can be large: a page is small until those of the page before were not.
constexpr int64_t kFirstPage = 16;
constexpr int64_t kPage = 256;
constexpr int64_t kLargeSchema = 16 << 10;

}  // namespace

arrow::Result<std::optional<ObjectStat>> Lister::Next() {
  if (next_ == page_.size()) {
    int64_t limit = page_.empty() ? kFirstPage : kPage;
    for (const ObjectStat& stat : page_) {
      if (stat.schema != nullptr && stat.schema->size() > kLargeSchema)
        limit = kFirstPage;
    }
    page_.clear();
    next_ = 0;
    ARROW_ASSIGN_OR_RAISE(page_, cache_->List(context_, prefix_, after_, limit));
    if (page_.empty()) return std::nullopt;
    after_ = page_.back().key.text();
  }
  // Kept until the page ends: its schema says how large the next one may be.
  return page_[next_++];
}

}  // namespace flame
