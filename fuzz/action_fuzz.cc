// Bodies of do_action, run on a cache in memory: whatever is asked, the object that was
// there before is whole afterwards, or deleted.
#include "flame/flight/actions.h"

#include "flame/object/bson.h"
#include "flame/storage/memory_store.h"
#include "fuzz/fuzz.h"

namespace flame {
namespace {

constexpr std::string_view kBytes = "what was there before";

struct Door {
  const std::unique_ptr<BufferPool> pool = MakeHeapPool();
  const AllowAll allow_all;
  const std::unique_ptr<MemoryStore> store = MemoryStore::Open({}).ValueOrDie();
  Cache cache{store.get(), pool.get(), Clock::System(), &allow_all, CacheOptions{}};
  Budget budget{64 << 20};
  FlightShared shared{64 << 20};
  const FlightServiceOptions options{.endpoint = "grpc://127.0.0.1:9090"};
  const Key key = Key::Parse("a/s/o").ValueOrDie();

  RequestContext Context() const {
    RequestContext context;
    context.cancelled = [] { return true; };  // Nobody waits for the feed.
    return context;
  }
};

/// Kept over inputs, and made anew before it has grown large.
Door& FreshDoor() {
  constexpr int kInputs = 500;
  static int inputs = 0;
  static std::unique_ptr<Door> door;
  if (inputs++ % kInputs == 0) door = std::make_unique<Door>();
  return *door;
}

}  // namespace
}  // namespace flame

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace flame;  // NOLINT: a target is one function.
  std::string_view bytes = fuzz::Text(data, size);
  static const auto actions = KnownActions();
  const std::string& type = actions[fuzz::TakeByte(&bytes) % actions.size()].type;
  Door& door = FreshDoor();
  const auto before = door.cache.Put(
      {}, door.key, Payload::Opaque({arrow::Buffer::FromString(std::string(kBytes))}));
  FUZZ_CHECK(before.ok());
  // Payloads may share the body: it must be as long-lived as a network message.
  const auto answers =
      RunAction(type, {&door.cache, &door.budget, &door.shared.replies,
                       &door.shared.metrics, door.options, door.Context(),
                       arrow::Buffer::FromString(std::string(bytes))});
  while (answers.ok()) {
    const auto answer = (*answers)();
    if (!answer.ok() || !*answer) break;
    if (type.starts_with("flame.")) FUZZ_CHECK(BsonReader::Open(**answer).ok());
  }
  const auto got = door.cache.Get({}, door.key, 0);
  FUZZ_CHECK(got.ok());
  const auto* snapshot = std::get_if<std::shared_ptr<const Snapshot>>(&*got);
  if (snapshot != nullptr && (*snapshot)->base_version == before->version) {
    FUZZ_CHECK(Contiguous(*(*snapshot)->base).ValueOrDie()->ToString() == kBytes);
  }
  return 0;
}
