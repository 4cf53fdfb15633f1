/*
 * Cost of the DMA layout without the kernel, by the number of extents and when
 * entries run out
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <benchmark/benchmark.h>

#include <cerrno>
#include <cstdint>

#include "hw/vfio/dma-layout.h"

namespace {

using shared_dma::DmaBudget;
using shared_dma::DmaLayout;
using shared_dma::DmaStreams;

constexpr uint64_t kPage = DmaLayout::kPage;
constexpr uint64_t kBlock = DmaBudget::kBlock;
constexpr uint64_t kGiB = UINT64_C(1) << 30;
constexpr uint64_t kTiB = UINT64_C(1) << 40;
constexpr uint64_t kEntryLimit = 65535;

/* A prime, so that strides visit all elements of smaller sets. */
constexpr uint64_t kStride = 15485863;

/* A kernel that only counts calls and bytes. */
struct Kernel {
    uint64_t limit = DMA_LAYOUT_NO_LIMIT;
    uint64_t calls = 0;
    uint64_t mapped_bytes = 0;
    const DmaLayout *layout = nullptr;
};

int count_map(void *opaque, uint64_t, uint64_t size, uint64_t, DmaLayoutAccess)
{
    auto *kernel = static_cast<Kernel *>(opaque);

    kernel->calls++;
    if (kernel->layout->extents().nmapped() >= kernel->limit) {
        return -ENOSPC;
    }
    kernel->mapped_bytes += size;
    return 0;
}

int count_unmap(void *opaque, uint64_t, uint64_t)
{
    static_cast<Kernel *>(opaque)->calls++;
    return 0;
}

uint64_t entries_left(void *opaque)
{
    const auto *kernel = static_cast<Kernel *>(opaque);

    if (kernel->limit == DMA_LAYOUT_NO_LIMIT) {
        return DMA_LAYOUT_NO_LIMIT;
    }
    return kernel->limit - kernel->layout->extents().nmapped();
}

void ignore_event(void *, DmaLayoutEvent, uint64_t, uint64_t, uint64_t) {}

/* A layout, and its calls to the kernel since the benchmark began */
class Bench {
public:
    explicit Bench(uint64_t limit = DMA_LAYOUT_NO_LIMIT)
        : layout_(
              {count_map, count_unmap, count_unmap, entries_left, ignore_event},
              &kernel_)
    {
        kernel_.limit = limit;
        kernel_.layout = &layout_;
    }

    void begin()
    {
        calls_ = kernel_.calls;
        mapped_bytes_ = kernel_.mapped_bytes;
        failed_ = false;
    }

    bool populate(uint64_t iova, uint64_t size)
    {
        const int ret =
            layout_.populate(iova, size, iova, DMA_LAYOUT_READ_WRITE);

        failed_ |= ret != 0;
        return !ret;
    }

    void discard(uint64_t iova, uint64_t size)
    {
        failed_ |= layout_.discard(iova, size) != 0;
    }

    void set_limit(uint64_t limit) { kernel_.limit = limit; }
    DmaLayout &layout() { return layout_; }

    /* Report the counters; @requests is the number in each iteration. */
    void report(benchmark::State &bench, uint64_t requests,
                bool may_fail = false)
    {
        const double count = static_cast<double>(bench.iterations()) * requests;
        const uint64_t bytes = kernel_.mapped_bytes - mapped_bytes_;

        bench.SetItemsProcessed(bench.iterations() * requests);
        bench.counters["calls"] = (kernel_.calls - calls_) / count;
        bench.counters["mapped_KiB"] = bytes / 1024 / count;
        bench.counters["extents"] = layout_.extents().size();
        if (failed_ && !may_fail) {
            bench.SkipWithError("a request failed");
        } else if (layout_.broken_invariant()) {
            bench.SkipWithError(layout_.broken_invariant());
        }
    }

private:
    Kernel kernel_;
    DmaLayout layout_;
    uint64_t calls_ = 0;
    uint64_t mapped_bytes_ = 0;
    bool failed_ = false;
};

/* Collect the statistics that a query returns. */
void stats(benchmark::State &state)
{
    const uint64_t nextents = state.range(0);
    Bench bench;

    bench.layout().open();
    for (uint64_t extent = 0; extent < nextents; extent++) {
        bench.populate(extent * 2 * kBlock, (1 + extent % 512) * kPage);
    }
    bench.begin();
    for (auto _ : state) {
        DmaLayoutStats stats = bench.layout().stats();

        benchmark::DoNotOptimize(stats);
    }
    bench.report(state, 1);
}

BENCHMARK(stats)->ArgName("extents")->RangeMultiplier(10)->Range(1, 1000000);

/* Discard one of several blocks with gaps between them, and populate it. */
void discard_and_populate_block(benchmark::State &state)
{
    const uint64_t nextents = state.range(0);
    Bench bench;
    uint64_t i = 0;

    bench.layout().open();
    for (uint64_t extent = 0; extent < nextents; extent++) {
        bench.populate(extent * 2 * kBlock, kBlock);
    }
    bench.begin();
    for (auto _ : state) {
        i = (i + kStride) % nextents;
        bench.discard(i * 2 * kBlock, kBlock);
        bench.populate(i * 2 * kBlock, kBlock);
    }
    bench.report(state, 2);
}

BENCHMARK(discard_and_populate_block)
    ->ArgName("extents")
    ->RangeMultiplier(10)
    ->Range(1, 1000000);

/*
 * Make a hole in a random block, and populate the block again.  The split costs
 * nine mappings.
 */
void random_hole(benchmark::State &state)
{
    const uint64_t nblocks = state.range(0);
    const uint64_t npages = nblocks * (kBlock / kPage);
    Bench bench;
    uint64_t page = 0;

    bench.layout().open();
    bench.populate(0, nblocks * kBlock);
    bench.begin();
    for (auto _ : state) {
        page = (page + kStride) % npages;
        bench.discard(page * kPage, kPage);
        bench.discard(page * kPage / kBlock * kBlock, kBlock);
        bench.populate(page * kPage / kBlock * kBlock, kBlock);
    }
    bench.report(state, 3);
}

BENCHMARK(random_hole)
    ->ArgName("blocks")
    ->RangeMultiplier(100)
    ->Range(1, 1000000);

/* Make holes in one of 64 pages at random; a second iteration finds no room. */
void holes_that_stay(benchmark::State &state)
{
    const uint64_t size = state.range(0) * kGiB;
    const uint64_t npages = size / kPage;
    const uint64_t nholes = npages / 64;
    Bench bench;
    uint64_t page = 0;

    bench.layout().open();
    bench.populate(0, size);
    bench.begin();
    for (auto _ : state) {
        for (uint64_t i = 0; i < nholes; i++) {
            page = (page + kStride) % npages;
            bench.discard(page * kPage, kPage);
        }
    }
    bench.report(state, nholes);
}

BENCHMARK(holes_that_stay)->ArgName("GiB")->Arg(1)->Arg(4)->Iterations(1);

/* Discard every second page, one after the other, and then all memory. */
void alternating_pages(benchmark::State &state)
{
    const uint64_t npages = state.range(0);
    Bench bench;

    bench.layout().open();
    bench.begin();
    for (auto _ : state) {
        bench.populate(0, npages * kPage);
        for (uint64_t page = 0; page < npages; page += 2) {
            bench.discard(page * kPage, kPage);
        }
        bench.discard(0, npages * kPage);
    }
    bench.report(state, npages / 2 + 2);
}

BENCHMARK(alternating_pages)
    ->ArgName("pages")
    ->Arg(512)
    ->Arg(1 << 18)
    ->Arg(1 << 20);

/* Populate page by page while the gate is closed. */
void recorded_pages(benchmark::State &state)
{
    const uint64_t nstreams = state.range(0);
    constexpr uint64_t kPages = 4096;
    Bench bench;

    bench.begin();
    for (auto _ : state) {
        for (uint64_t page = 0; page < kPages; page++) {
            for (uint64_t stream = 0; stream < nstreams; stream++) {
                bench.populate(stream * kGiB + page * kPage, kPage);
            }
        }
        bench.discard(0, kTiB);
    }
    bench.report(state, kPages * nstreams + 1);
}

BENCHMARK(recorded_pages)->ArgName("streams")->Arg(1)->Arg(8);

/* Continue a stream of a given size under the default limit. */
void stream_under_limit(benchmark::State &state)
{
    const uint64_t size = state.range(1) * kPage;
    const uint64_t before = state.range(0) * (kTiB / 16);
    Bench bench(kEntryLimit);
    uint64_t iova = 0;

    bench.layout().open();
    for (; iova < before; iova += size) {
        bench.populate(iova, size);
    }
    bench.begin();
    for (auto _ : state) {
        bench.populate(iova, size);
        iova += size;
    }
    bench.report(state, 1);
}

BENCHMARK(stream_under_limit)
    ->ArgNames({"sixteenths_TiB", "pages"})
    ->Args({0, 512})
    ->Args({4, 512})
    ->Args({16, 512})
    ->Args({64, 512})
    ->Iterations(1 << 17);

/*
 * Populate backwards what can be merged with earlier requests.  All entries are
 * used, so that each batch of requests pays for one search.
 */
void merging_under_limit(benchmark::State &state)
{
    constexpr uint64_t kSize = DmaStreams::kMinSize;
    Bench bench(kEntryLimit);
    uint64_t iova = kTiB;

    bench.layout().open();
    for (uint64_t i = 0; i < kEntryLimit - DmaBudget::kSplitReserve; i++) {
        iova -= kSize;
        bench.populate(iova, kSize);
    }
    bench.begin();
    for (auto _ : state) {
        iova -= kSize;
        bench.populate(iova, kSize);
    }
    bench.report(state, 1);
}

BENCHMARK(merging_under_limit)->Iterations(1 << 17);

/* No entry is left, and no extents can be merged: each request fails. */
void refused(benchmark::State &state)
{
    Bench bench(kEntryLimit);
    uint64_t iova = 0;

    bench.layout().open();
    while (bench.populate(iova, kPage)) {
        iova += 2 * kPage;
    }
    bench.begin();
    for (auto _ : state) {
        benchmark::DoNotOptimize(bench.populate(kTiB, kPage));
    }
    bench.report(state, 1, true);
}

BENCHMARK(refused);

/*
 * The worst case: each request fails while the remainders of a split are
 * missing.  They are neighbours, so that each request searches all extents.
 */
void refused_after_a_search(benchmark::State &state)
{
    Bench bench(kEntryLimit);
    uint64_t iova = kBlock;

    bench.layout().open();
    bench.populate(0, kBlock);
    while (bench.populate(iova, kPage)) {
        iova += 2 * kPage;
    }
    /* Other users take the entries that are reserved for splits. */
    bench.set_limit(bench.layout().extents().nmapped());
    bench.discard(kPage, kPage);
    if (!bench.layout().stats().missing_size) {
        state.SkipWithError("nothing is missing");
    }
    bench.begin();
    for (auto _ : state) {
        benchmark::DoNotOptimize(bench.populate(kTiB, kPage));
    }
    bench.report(state, 1, true);
}

BENCHMARK(refused_after_a_search);

} // namespace

BENCHMARK_MAIN();
