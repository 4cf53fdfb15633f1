/*
 * A map of the shared pages of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A PageStateMap holds the state, private or shared, of each page of a RAM
 * block.  It is designed for blocks of many terabytes in which a guest converts
 * single pages: the cost of an operation does not depend on the block's size.
 *
 * Pages are kept in groups of 4096.  A group has a counter of its shared pages
 * and a bitmap of 64 words with a bit per page:
 *
 *     counters   [    0 ][ 4096 ][   17 ][    0 ] ...
 *                    |       |       |       |
 *     bitmap     [   -  ][   -  ][0110..][   -  ] ...
 *
 * The bitmap of a group is valid only while the group is mixed.  While the
 * counter says that all pages are in one state, the words are stale: converting
 * a whole group is one store to the counter, and a search skips 4096 pages with
 * one load.  When a group becomes mixed, its words are filled in first.  Words
 * that were never filled in are never touched, so no memory is allocated for
 * them.
 *
 * Cost: with G = 1 + npages / 4096, a conversion, a test, a count, or the
 * search for the next run in a range of npages is O(G + runs); filling or
 * scanning a group at a boundary of the range is bounded by 64 words.
 *
 * A map is not locked: its owner serializes access.
 */

#ifndef SYSTEM_PAGE_STATE_MAP_H
#define SYSTEM_PAGE_STATE_MAP_H

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>

extern "C" {
#include "system/page-state.h"
}

namespace shared_dma {

/* Pages @first to @first + @npages - 1, all in one state; never empty. */
struct PageRun {
    uint64_t first;
    uint64_t npages;

    bool operator==(const PageRun &) const = default;
};

class PageStateMap {
public:
    /*
     * Create a map of @npages pages, all private.  Returns null if memory runs
     * out.  @npages may be 0.
     */
    static std::unique_ptr<PageStateMap> create(uint64_t npages);

    uint64_t npages() const { return npages_; }

    /* Return the number of shared pages in the map.  O(1). */
    uint64_t nshared() const { return nshared_; }

    /* Return the number of runs of shared pages in the map.  O(1). */
    uint64_t nruns() const { return nruns_; }

    /* Count the shared pages among the @npages pages that start at @first. */
    uint64_t count_shared(uint64_t first, uint64_t npages) const;

    /* Whether the @npages pages that start at @first are all in @state. */
    bool all(uint64_t first, uint64_t npages, PageState state) const;

    /*
     * Find the first run of pages in @state among the @npages pages that start
     * at @first, clipped to that range.  Returns nullopt if there is none.
     */
    std::optional<PageRun> next_run(uint64_t first, uint64_t npages,
                                    PageState state) const;

    /*
     * Convert the @npages pages that start at @first to @state.  Call @changed
     * with a PageRun, in ascending order, for each run of pages that were in
     * the other state, after the run has changed.  Returns the number of pages
     * that changed.
     */
    template <typename Changed>
    uint64_t convert(uint64_t first, uint64_t npages, PageState state,
                     Changed &&changed)
    {
        const uint64_t end = first + npages;
        uint64_t nchanged = 0;

        while (first < end) {
            const auto run =
                next_run(first, end - first, page_state_opposite(state));

            if (!run) {
                break;
            }
            set_run(*run, state);
            changed(*run);
            nchanged += run->npages;
            first = run->first + run->npages;
        }
        return nchanged;
    }

    PageStateMap(const PageStateMap &) = delete;
    PageStateMap &operator=(const PageStateMap &) = delete;

private:
    static constexpr unsigned kWordBits = 64;
    static constexpr unsigned kGroupWords = 64;
    static constexpr uint64_t kGroupPages = kWordBits * kGroupWords;

    struct Free {
        void operator()(void *p) const { std::free(p); }
    };
    template <typename T> using Array = std::unique_ptr<T[], Free>;

    PageStateMap(uint64_t npages, Array<uint64_t> words,
                 Array<uint16_t> counters);

    /* Return the number of pages in @group; the last group can have fewer. */
    uint64_t group_size(uint64_t group) const;

    /* Return the state of all pages of @group; nullopt if it is mixed. */
    std::optional<PageState> uniform(uint64_t group) const;

    /* Find the first page in @state from @first to @end; @end if none is. */
    uint64_t find(uint64_t first, uint64_t end, PageState state) const;

    /* Convert pages to @state.  None of them may be in @state yet. */
    void set_run(PageRun run, PageState state);

    uint64_t npages_;
    uint64_t nshared_ = 0;
    uint64_t nruns_ = 0;
    Array<uint64_t> words_;
    Array<uint16_t> counters_;
};

} // namespace shared_dma

#endif
