/*
 * Cost of converting one page, by the size of RAM and the state of other pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <benchmark/benchmark.h>

#include <memory>

#include "system/page-state-map.h"

namespace {

using shared_dma::PageRun;

enum Pattern {
    kAllPrivate,
    kAllShared,
    kAlternating
};

constexpr uint64_t kGiB = UINT64_C(1) << 30;
constexpr uint64_t kPage = 4096;

/*
 * Number of pages that the benchmark converts, at the end of the map.  It does
 * not depend on the size of RAM, so that the results compare the work of the
 * map and not the number of cache misses.
 */
constexpr uint64_t kWindowPages = kGiB / kPage;

std::unique_ptr<shared_dma::PageStateMap> make_map(uint64_t npages,
                                                   int64_t pattern)
{
    auto map = shared_dma::PageStateMap::create(npages);
    const auto ignore = [](PageRun) {
    };

    if (map && pattern == kAllShared) {
        map->convert(0, npages, PAGE_STATE_SHARED, ignore);
    }
    if (map && pattern == kAlternating) {
        for (uint64_t page = 0; page < npages; page += 2) {
            map->convert(page, 1, PAGE_STATE_SHARED, ignore);
        }
    }
    return map;
}

/* Convert a page to its other state and back, so that the map is unchanged. */
void convert_one_page(benchmark::State &bench)
{
    const uint64_t npages = bench.range(0) * (kGiB / kPage);
    const auto map = make_map(npages, bench.range(1));
    const auto ignore = [](PageRun) {
    };
    uint64_t step = 0;

    if (!map) {
        bench.SkipWithError("no memory for the map");
        return;
    }
    for (auto _ : bench) {
        /* A stride that is prime to the window visits all of its pages. */
        step = (step + 40503) % kWindowPages;

        const uint64_t page = npages - kWindowPages + step;
        const PageState state = map->all(page, 1, PAGE_STATE_SHARED)
                                    ? PAGE_STATE_SHARED
                                    : PAGE_STATE_PRIVATE;

        benchmark::DoNotOptimize(
            map->convert(page, 1, page_state_opposite(state), ignore));
        benchmark::DoNotOptimize(map->convert(page, 1, state, ignore));
    }
    bench.counters["per_conversion"] = benchmark::Counter(
        2.0 * bench.iterations(),
        benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
    bench.SetLabel(bench.range(1) == kAllPrivate  ? "all private"
                   : bench.range(1) == kAllShared ? "all shared"
                                                  : "alternating");
}

/* A fixed number of iterations, so that the 16 TiB map is created only once. */
BENCHMARK(convert_one_page)
    ->ArgNames({"GiB", "pattern"})
    ->ArgsProduct({{1, 1024, 16384}, {kAllPrivate, kAllShared, kAlternating}})
    ->Iterations(10000000);

} // namespace

BENCHMARK_MAIN();
