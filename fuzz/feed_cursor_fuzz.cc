// Cursors that clients of the feed hand back.
#include "flame/cache/feed.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using flame::Feed;
  // Origin 0 is the one that an input hits most easily.
  Feed feed(/*origin=*/0, /*capacity=*/4);
  for (int i = 1; i <= 6; ++i) {
    const auto key = flame::Key::Parse("a/s/" + std::to_string(i)).ValueOrDie();
    feed.AfterPublish({.key = key, .seq = static_cast<uint64_t>(i), .version = i});
  }
  const auto page = feed.Read(flame::fuzz::Text(data, size), "a/", /*limit=*/3,
                              std::chrono::milliseconds(0));
  if (!page.ok()) return 0;
  FUZZ_CHECK(page->events.size() <= 3);
  FUZZ_CHECK(!page->gap || page->events.empty());
  const auto next = feed.Read(page->cursor, "a/", /*limit=*/3, {});
  FUZZ_CHECK(next.ok() && !next->gap);
  return 0;
}
