/*
 * Which pages of a RAM block are shared with the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A PageStateMap holds one of two states, private or shared, for each page of
 * a RAM block.  It is made for blocks of many terabytes of which a guest
 * converts single pages: no operation costs more because the block is larger.
 *
 * Pages are kept in groups of 4096.  A group has a counter, the number of its
 * pages that are shared, and a bitmap of 64 words, one bit a page:
 *
 *     counters   [    0 ][ 4096 ][   17 ][    0 ] ...
 *                    |       |       |       |
 *     bitmap     [   -  ][   -  ][0110..][   -  ] ...
 *
 * The bitmap of a group counts only while the group is mixed.  While its
 * counter says that all pages are of one state the words are stale, so that
 * converting a whole group is one store to the counter, and searching passes
 * over 4096 pages with one load.  A group that becomes mixed has its words
 * filled in first.  The memory of words that were never filled in is never
 * touched, and costs nothing.
 *
 * Cost: with G = 1 + npages / 4096, a conversion, a test, a count and the
 * search for the next run inside a range of npages are O(G + runs); the fill
 * or the scan of a group at a border of the range is bounded by 64 words.
 *
 * A map is not locked: its owner serializes access.
 */

#ifndef SYSTEM_PAGE_STATE_MAP_H
#define SYSTEM_PAGE_STATE_MAP_H

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>

namespace shared_dma {

enum class PageState : bool {
    kPrivate = false,
    kShared = true
};

/* Pages @first to @first + @npages - 1, all of one state; never empty. */
struct PageRun {
    uint64_t first;
    uint64_t npages;

    bool operator==(const PageRun &) const = default;
};

class PageStateMap {
public:
    /*
     * Make a map of @npages pages, all private.  Returns null when there is
     * no memory for it.  @npages may be 0.
     */
    static std::unique_ptr<PageStateMap> create(uint64_t npages);

    uint64_t npages() const { return npages_; }

    /* How many pages of the whole map are shared.  O(1). */
    uint64_t nshared() const { return nshared_; }

    /* In how many runs they are.  O(1). */
    uint64_t nruns() const { return nruns_; }

    /* How many of the @npages pages from @first on are shared. */
    uint64_t count_shared(uint64_t first, uint64_t npages) const;

    /* Whether the @npages pages from @first on all have @state. */
    bool all(uint64_t first, uint64_t npages, PageState state) const;

    /*
     * The first run of pages in @state among the @npages pages from @first
     * on, cut at the borders of that range; nothing if there is none.
     */
    std::optional<PageRun> next_run(uint64_t first, uint64_t npages,
                                    PageState state) const;

    /*
     * Give the @npages pages from @first on the state @state.  @changed is
     * called with a PageRun, in ascending order, for each run of pages that
     * did not have that state before; the map has it by then.
     * Returns the number of pages that changed.
     */
    template <typename Changed>
    uint64_t convert(uint64_t first, uint64_t npages, PageState state,
                     Changed &&changed)
    {
        const uint64_t end = first + npages;
        uint64_t nchanged = 0;

        while (first < end) {
            const auto run = next_run(first, end - first, opposite(state));

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

    static PageState opposite(PageState state)
    {
        return state == PageState::kShared ? PageState::kPrivate
                                           : PageState::kShared;
    }

    /* The pages of @group: kGroupPages, or fewer in the last one. */
    uint64_t group_size(uint64_t group) const;

    /* The state that all pages of @group have; nothing if it is mixed. */
    std::optional<PageState> uniform(uint64_t group) const;

    /* The first page from @first on, below @end, in @state; or @end. */
    uint64_t find(uint64_t first, uint64_t end, PageState state) const;

    /* Change pages none of which is in @state yet. */
    void set_run(PageRun run, PageState state);

    uint64_t npages_;
    uint64_t nshared_ = 0;
    uint64_t nruns_ = 0;
    Array<uint64_t> words_;
    Array<uint16_t> counters_;
};

} // namespace shared_dma

#endif
