// How jemalloc works for this program (its manual: "TUNING").
#include <jemalloc/jemalloc.h>

// Memory that is not used goes back to the kernel within seconds, also when nobody calls:
// a thread of the allocator sees to it. Huge pages, where the kernel gives them to those
// who ask: first touches of fresh 4 KiB pages were half of the time of a large put, and
// cost up to a tenth more memory. MALLOC_CONF in the environment has the last word.
extern "C" {
__attribute__((visibility("default"))) const char* malloc_conf =
    "background_thread:true,max_background_threads:1,dirty_decay_ms:5000,muzzy_decay_ms:"
    "5000,thp:always";
}
