// What counting costs: everything that the Flight door adds to a call for metrics and for
// the bound of running calls, alone and from several threads at once.
#include <benchmark/benchmark.h>

#include <arrow/status.h>

#include "flame/base/metrics.h"
#include "flame/flight/call.h"

namespace flame {
namespace {

DoorMetrics door("bench");

void CountOneCall(benchmark::State& state) {
  door.running_limit = 1 << 20;
  for (auto _ : state) {
    Call call(&door, DoorOperation::kGet, "do_get");
    benchmark::DoNotOptimize(call.Admit().ok());
    call.counters().received_bytes.Add(100);
    call.counters().sent_bytes.Add(1000);
    benchmark::DoNotOptimize(call.Finish(arrow::Status::OK()).ok());
  }
}
BENCHMARK(CountOneCall)->ThreadRange(1, 16)->UseRealTime();

void ObserveOne(benchmark::State& state) {
  static LatencyHistogram histogram;
  for (auto _ : state) histogram.Observe(std::chrono::microseconds(250));
}
BENCHMARK(ObserveOne)->ThreadRange(1, 16)->UseRealTime();

}  // namespace
}  // namespace flame

BENCHMARK_MAIN();
