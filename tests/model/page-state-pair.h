/*
 * A PageStateMap and a simple model of it, side by side
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_MODEL_PAGE_STATE_PAIR_H
#define TESTS_MODEL_PAGE_STATE_PAIR_H

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "system/page-state-map.h"
#include "tests/model/check.h"

extern "C" {
#include "system/page-state-map-c.h"
}

namespace shared_dma {

/* A string with a character per page */
class PageStateModel {
public:
    explicit PageStateModel(uint64_t npages) : pages_(npages, kPrivate) {}

    std::vector<PageRun> runs(uint64_t first, uint64_t npages,
                              PageState state) const
    {
        const uint64_t end = first + npages;
        std::vector<PageRun> runs;

        while ((first = find(first, end, state)) < end) {
            const uint64_t run_end =
                find(first, end, page_state_opposite(state));

            runs.push_back({first, run_end - first});
            first = run_end;
        }
        return runs;
    }

    uint64_t count(uint64_t first, uint64_t npages, PageState state) const
    {
        uint64_t count = 0;

        for (const PageRun &run : runs(first, npages, state)) {
            count += run.npages;
        }
        return count;
    }

    void convert(uint64_t first, uint64_t npages, PageState state)
    {
        pages_.replace(first, npages, npages, letter(state));
    }

    uint64_t npages() const { return pages_.size(); }

private:
    static constexpr char kPrivate = 'p';
    static constexpr char kShared = 's';

    static char letter(PageState state)
    {
        return state == PAGE_STATE_SHARED ? kShared : kPrivate;
    }

    uint64_t find(uint64_t first, uint64_t end, PageState state) const
    {
        return std::min<uint64_t>(pages_.find(letter(state), first), end);
    }

    std::string pages_;
};

/* A map, used through its C interface, and a model that changes with it */
class PageStatePair {
public:
    explicit PageStatePair(uint64_t npages)
        : map_(page_state_map_new(npages)), model_(npages)
    {
        MODEL_CHECK(map_ != nullptr);
    }

    uint64_t npages() const { return model_.npages(); }

    void convert(uint64_t first, uint64_t npages, PageState state)
    {
        const auto expected =
            model_.runs(first, npages, page_state_opposite(state));
        const uint64_t nexpected =
            model_.count(first, npages, page_state_opposite(state));
        Report report = {this, {}, state};

        model_.convert(first, npages, state);
        MODEL_CHECK_EQUAL(page_state_map_convert(map(), first, npages, state,
                                                 report_run, &report),
                          nexpected);
        MODEL_CHECK(report.runs == expected);
        MODEL_CHECK_EQUAL(page_state_map_nshared(map()),
                          nshared(nexpected, state));
    }

    /* Convert without a callback. */
    void convert_silently(uint64_t first, uint64_t npages, PageState state)
    {
        const uint64_t nexpected =
            model_.count(first, npages, page_state_opposite(state));

        model_.convert(first, npages, state);
        MODEL_CHECK_EQUAL(page_state_map_convert(map(), first, npages, state,
                                                 nullptr, nullptr),
                          nexpected);
        MODEL_CHECK_EQUAL(page_state_map_nshared(map()),
                          nshared(nexpected, state));
    }

    void check(uint64_t first, uint64_t npages) const
    {
        for (PageState state : {PAGE_STATE_PRIVATE, PAGE_STATE_SHARED}) {
            check_next_run(first, npages, state);
            check_all_of(first, npages, state);
        }
        check_count(first, npages);
    }

    void check_next_run(uint64_t first, uint64_t npages, PageState state) const
    {
        constexpr uint64_t kUntouched = UINT64_MAX - 7;
        const auto expected = model_.runs(first, npages, state);
        PageRun run = {kUntouched, kUntouched};

        MODEL_CHECK_EQUAL(page_state_map_next_run(map(), first, npages, state,
                                                  &run.first, &run.npages),
                          !expected.empty());
        MODEL_CHECK_EQUAL(run, expected.empty()
                                   ? (PageRun{kUntouched, kUntouched})
                                   : expected.front());
    }

    void check_all_of(uint64_t first, uint64_t npages, PageState state) const
    {
        MODEL_CHECK_EQUAL(page_state_map_all(map(), first, npages, state),
                          model_.count(first, npages, state) == npages);
    }

    void check_count(uint64_t first, uint64_t npages) const
    {
        MODEL_CHECK_EQUAL(page_state_map_count_shared(map(), first, npages),
                          model_.count(first, npages, PAGE_STATE_SHARED));
    }

    /* Walk the whole map like its users, and check all totals. */
    void check_everything() const
    {
        const uint64_t npages = model_.npages();
        uint64_t first = 0;
        uint64_t found, size;

        for (const PageRun &run : model_.runs(0, npages, PAGE_STATE_SHARED)) {
            MODEL_CHECK(page_state_map_next_run(map(), first, npages - first,
                                                PAGE_STATE_SHARED, &found,
                                                &size) &&
                        found == run.first && size == run.npages);
            first = run.first + run.npages;
        }
        MODEL_CHECK(!page_state_map_next_run(map(), first, npages - first,
                                             PAGE_STATE_SHARED, &found, &size));
        MODEL_CHECK_EQUAL(page_state_map_nshared(map()),
                          model_.count(0, npages, PAGE_STATE_SHARED));
        MODEL_CHECK_EQUAL(page_state_map_nruns(map()),
                          model_.runs(0, npages, PAGE_STATE_SHARED).size());
        check(0, npages);
    }

private:
    using Map = ::PageStateMap;

    struct Report {
        PageStatePair *pair;
        std::vector<PageRun> runs;
        PageState state;
    };

    struct Free {
        void operator()(Map *map) const { page_state_map_free(map); }
    };

    static void report_run(void *opaque, uint64_t first, uint64_t npages)
    {
        Report *report = static_cast<Report *>(opaque);

        /* A run is reported after its state has changed. */
        MODEL_CHECK(page_state_map_all(report->pair->map(), first, npages,
                                       report->state));
        report->runs.push_back({first, npages});
    }

    /* Return the number of shared pages after @nchanged became @state. */
    uint64_t nshared(uint64_t nchanged, PageState state)
    {
        nshared_ += state == PAGE_STATE_SHARED ? nchanged : -nchanged;
        return nshared_;
    }

    Map *map() const { return map_.get(); }

    std::unique_ptr<Map, Free> map_;
    PageStateModel model_;
    uint64_t nshared_ = 0;
};

} // namespace shared_dma

#endif
