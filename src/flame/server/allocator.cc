// How jemalloc works for this program (its manual: "TUNING").
#include <jemalloc/jemalloc.h>

// Memory that is not used goes back to the kernel within seconds, also when nobody calls:
// a thread of the allocator sees to it. MALLOC_CONF in the environment has the last word.
extern "C" {
__attribute__((visibility("default"))) const char* malloc_conf =
    "background_thread:true,max_background_threads:1,dirty_decay_ms:5000,muzzy_decay_ms:"
    "5000";
}
