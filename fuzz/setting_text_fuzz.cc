// Values of settings that are more than a word: endpoints, addresses, storage URLs,
// durations, sizes, log filters.
#include "flame/base/log.h"
#include "flame/base/size.h"
#include "flame/config/duration.h"
#include "flame/config/endpoint.h"
#include "flame/config/ip_address.h"
#include "flame/config/manager_config.h"
#include "flame/config/storage_url.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace flame;  // NOLINT: a target is one function.
  const std::string_view text = fuzz::Text(data, size);
  if (const auto endpoint = ParseEndpoint(text); endpoint.ok()) {
    FUZZ_CHECK(endpoint->port >= 0 && endpoint->port <= 65535);
    FUZZ_CHECK(ParseEndpoint(FormatEndpoint(*endpoint)).ValueOrDie() == *endpoint);
  }
  if (const auto address = ParseHostPort(text); address.ok()) {
    FUZZ_CHECK(ParseHostPort(FormatHostPort(*address)).ValueOrDie() == *address);
  }
  if (const auto address = IpAddress::Parse(text)) {
    FUZZ_CHECK(IpAddress::Parse(address->text()) == address);
  }
  if (const auto url = ParseStorageUrl(text, "/home/user", "/work"); url.ok()) {
    FUZZ_CHECK(url->path.empty() || url->path.front() == '/');
    const auto again = ParseStorageUrl(FormatStorageUrl(*url), "/", "/");
    FUZZ_CHECK(again.ok() && *again == *url);
  }
  if (const auto duration = ParseDuration(text); duration.ok()) {
    FUZZ_CHECK(duration->count() >= 0);
    FUZZ_CHECK(ParseDuration(FormatDuration(*duration)).ValueOrDie() == *duration);
  }
  if (const auto bytes = ParseSize(text); bytes.ok()) {
    FUZZ_CHECK(ParseSize(FormatSize(*bytes)).ValueOrDie() == *bytes);
  }
  ARROW_UNUSED(ParseDemand(text));
  LogOptions options;
  ARROW_UNUSED(ParseLogFilter(text, &options));
  return 0;
}
