// How jemalloc works for this program (its manual: "TUNING", and
// "arena.<i>.extent_hooks").
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <jemalloc/jemalloc.h>

// Memory that is not used goes back to the kernel within seconds, also when nobody calls:
// a thread of the allocator sees to it. What has 16 MiB or more lies apart, in an arena
// of its own. MALLOC_CONF in the environment has the last word.
extern "C" {
__attribute__((visibility("default"))) const char* malloc_conf =
    "background_thread:true,max_background_threads:1,dirty_decay_ms:5000,muzzy_decay_ms:"
    "5000,oversize_threshold:16777216";
}

namespace {

extent_hooks_t* default_hooks = nullptr;
extent_hooks_t large_hooks;

// Huge pages, where the kernel gives them to those who ask, for what is large: first
// touches of fresh 4 KiB pages were half of the time of a large put. Only there: a
// message a little above 1 MiB gets 1.25 MiB of addresses, and would get as much memory.
void* AllocateLarge(extent_hooks_t*, void* address, size_t size, size_t alignment,
                    bool* zero, bool* commit, unsigned arena) {
  void* extent =
      default_hooks->alloc(default_hooks, address, size, alignment, zero, commit, arena);
  if (extent != nullptr) (void)madvise(extent, size, MADV_HUGEPAGE);  // A wish.
  return extent;
}

// When the program starts. The arena is where a first large allocation comes to lie. What
// fails leaves small pages.
const bool kAsked = [] {
  const char* wish = "";
  size_t size = sizeof(wish);
  if (mallctl("opt.thp", &wish, &size, nullptr, 0) != 0 ||
      std::strcmp(wish, "never") == 0)
    return false;
  size_t threshold = 0;
  size = sizeof(threshold);
  if (mallctl("opt.oversize_threshold", &threshold, &size, nullptr, 0) != 0) return false;
  void* first = threshold == 0 ? nullptr : malloc(threshold);
  if (first == nullptr) return false;
  (void)madvise(first, threshold, MADV_HUGEPAGE);
  unsigned arena = 0;
  size = sizeof(arena);
  const int found = mallctl("arenas.lookup", &arena, &size, &first, sizeof(first));
  free(first);
  if (found != 0) return false;
  char name[48];
  std::snprintf(name, sizeof(name), "arena.%u.extent_hooks", arena);
  extent_hooks_t* hooks = &large_hooks;
  size = sizeof(default_hooks);
  if (mallctl(name, &default_hooks, &size, nullptr, 0) != 0) return false;
  large_hooks = *default_hooks;
  large_hooks.alloc = AllocateLarge;
  return mallctl(name, nullptr, nullptr, &hooks, sizeof(hooks)) == 0;
}();

}  // namespace
