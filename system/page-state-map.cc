/*
 * A map of the shared pages of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "page-state-map.h"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

extern "C" {
#include "system/page-state-map-c.h"
}

namespace shared_dma {

namespace {

/* Return bits @first to @end - 1 of a word; @first < @end <= 64. */
constexpr uint64_t word_mask(unsigned first, unsigned end)
{
    return (~UINT64_C(0) << first) & (~UINT64_C(0) >> (64 - end));
}

constexpr uint64_t div_round_up(uint64_t n, uint64_t unit)
{
    return n / unit + (n % unit != 0);
}

/*
 * Call @visit(i, mask) for each word i that holds bits of @first to @end - 1,
 * with the mask of those bits.
 */
template <typename Visit>
void for_each_word(uint64_t first, uint64_t end, Visit &&visit)
{
    while (first < end) {
        const uint64_t word_first = first - first % 64;
        const uint64_t word_end = std::min(word_first + 64, end);

        visit(first / 64, word_mask(first % 64, word_end - word_first));
        first = word_end;
    }
}

} // namespace

PageStateMap::PageStateMap(uint64_t npages, Array<uint64_t> words,
                           Array<uint16_t> counters)
    : npages_(npages), words_(std::move(words)), counters_(std::move(counters))
{
}

std::unique_ptr<PageStateMap> PageStateMap::create(uint64_t npages)
{
    /* calloc() may return null for no elements, which means failure here. */
    const uint64_t ngroups =
        std::max(div_round_up(npages, kGroupPages), UINT64_C(1));

    /* calloc() does not touch the memory before it is used. */
    Array<uint64_t> words(static_cast<uint64_t *>(
        std::calloc(ngroups, kGroupWords * sizeof(uint64_t))));
    Array<uint16_t> counters(
        static_cast<uint16_t *>(std::calloc(ngroups, sizeof(uint16_t))));

    if (!words || !counters) {
        return nullptr;
    }
    return std::unique_ptr<PageStateMap>(new (std::nothrow) PageStateMap(
        npages, std::move(words), std::move(counters)));
}

uint64_t PageStateMap::group_size(uint64_t group) const
{
    return std::min(kGroupPages, npages_ - group * kGroupPages);
}

std::optional<PageState> PageStateMap::uniform(uint64_t group) const
{
    if (counters_[group] == 0) {
        return PAGE_STATE_PRIVATE;
    }
    if (counters_[group] == group_size(group)) {
        return PAGE_STATE_SHARED;
    }
    return std::nullopt;
}

uint64_t PageStateMap::find(uint64_t first, uint64_t end, PageState state) const
{
    const uint64_t invert = state == PAGE_STATE_SHARED ? 0 : ~UINT64_C(0);
    uint64_t page = first;

    while (page < end) {
        const uint64_t group = page / kGroupPages;
        const uint64_t group_end = (group + 1) * kGroupPages;

        if (const auto all = uniform(group)) {
            if (*all == state) {
                return page;
            }
            page = group_end;
            continue;
        }
        /* A word past the end of the map's last group holds stale bits. */
        while (page < std::min(group_end, end)) {
            const uint64_t bits = (words_[page / kWordBits] ^ invert) &
                                  word_mask(page % kWordBits, kWordBits);

            page -= page % kWordBits;
            if (bits) {
                return std::min(page + std::countr_zero(bits), end);
            }
            page += kWordBits;
        }
    }
    return end;
}

std::optional<PageRun> PageStateMap::next_run(uint64_t first, uint64_t npages,
                                              PageState state) const
{
    const uint64_t end = first + npages;
    const uint64_t run_first = find(first, end, state);

    if (run_first == end) {
        return std::nullopt;
    }
    return PageRun{run_first, find(run_first, end, page_state_opposite(state)) -
                                  run_first};
}

bool PageStateMap::all(uint64_t first, uint64_t npages, PageState state) const
{
    return find(first, first + npages, page_state_opposite(state)) ==
           first + npages;
}

uint64_t PageStateMap::count_shared(uint64_t first, uint64_t npages) const
{
    const uint64_t end = first + npages;
    uint64_t nshared = 0;
    uint64_t page = first;

    while (page < end) {
        const uint64_t group = page / kGroupPages;
        const uint64_t group_first = group * kGroupPages;
        const uint64_t part_end =
            std::min(group_first + group_size(group), end);

        if (page == group_first && part_end - page == group_size(group)) {
            nshared += counters_[group];
        } else if (const auto all = uniform(group)) {
            nshared += *all == PAGE_STATE_SHARED ? part_end - page : 0;
        } else {
            for_each_word(page, part_end, [&](uint64_t i, uint64_t mask) {
                nshared += std::popcount(words_[i] & mask);
            });
        }
        page = part_end;
    }
    return nshared;
}

void PageStateMap::set_run(PageRun run, PageState state)
{
    const bool shared = state == PAGE_STATE_SHARED;
    const uint64_t end = run.first + run.npages;
    uint64_t page = run.first;

    while (page < end) {
        const uint64_t group = page / kGroupPages;
        const uint64_t group_first = group * kGroupPages;
        const uint64_t size = group_size(group);
        const uint64_t part_end = std::min(group_first + size, end);

        if (part_end - page < size) {
            if (const auto all = uniform(group)) {
                std::fill_n(&words_[group * kGroupWords],
                            div_round_up(size, kWordBits),
                            *all == PAGE_STATE_SHARED ? ~UINT64_C(0) : 0);
            }
            for_each_word(page, part_end, [&](uint64_t i, uint64_t mask) {
                words_[i] = shared ? words_[i] | mask : words_[i] & ~mask;
            });
        }
        counters_[group] += shared ? part_end - page : page - part_end;
        page = part_end;
    }
    nshared_ += shared ? run.npages : -run.npages;

    /* The run is a new one unless it joins, or splits, its neighbours. */
    const bool before = run.first && all(run.first - 1, 1, PAGE_STATE_SHARED);
    const bool after = end < npages_ && all(end, 1, PAGE_STATE_SHARED);
    const uint64_t more = UINT64_C(1) - before - after;

    nruns_ += shared ? more : -more;
}

} // namespace shared_dma

using shared_dma::PageRun;

static shared_dma::PageStateMap *unwrap(PageStateMap *map)
{
    return reinterpret_cast<shared_dma::PageStateMap *>(map);
}

static const shared_dma::PageStateMap *unwrap(const PageStateMap *map)
{
    return reinterpret_cast<const shared_dma::PageStateMap *>(map);
}

PageStateMap *page_state_map_new(uint64_t npages)
{
    return reinterpret_cast<PageStateMap *>(
        shared_dma::PageStateMap::create(npages).release());
}

void page_state_map_free(PageStateMap *map)
{
    delete unwrap(map);
}

uint64_t page_state_map_convert(PageStateMap *map, uint64_t first,
                                uint64_t npages, PageState state,
                                PageStateMapChanged *changed, void *opaque)
{
    return unwrap(map)->convert(first, npages, state, [=](PageRun run) {
        if (changed) {
            changed(opaque, run.first, run.npages);
        }
    });
}

bool page_state_map_all(const PageStateMap *map, uint64_t first,
                        uint64_t npages, PageState state)
{
    return unwrap(map)->all(first, npages, state);
}

bool page_state_map_next_run(const PageStateMap *map, uint64_t first,
                             uint64_t npages, PageState state,
                             uint64_t *run_first, uint64_t *run_npages)
{
    const auto run = unwrap(map)->next_run(first, npages, state);

    if (!run) {
        return false;
    }
    *run_first = run->first;
    *run_npages = run->npages;
    return true;
}

uint64_t page_state_map_count_shared(const PageStateMap *map, uint64_t first,
                                     uint64_t npages)
{
    return unwrap(map)->count_shared(first, npages);
}

uint64_t page_state_map_nshared(const PageStateMap *map)
{
    return unwrap(map)->nshared();
}

uint64_t page_state_map_nruns(const PageStateMap *map)
{
    return unwrap(map)->nruns();
}
