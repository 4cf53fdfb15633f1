/*
 * A PageStateMap and a model that is too simple to be wrong, side by side
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

/* One character a page. */
class PageStateModel {
public:
    explicit PageStateModel(uint64_t npages) : pages_(npages, kPrivate) {}

    std::vector<PageRun> runs(uint64_t first, uint64_t npages,
                              bool shared) const
    {
        const uint64_t end = first + npages;
        std::vector<PageRun> runs;

        while ((first = find(first, end, shared)) < end) {
            const uint64_t run_end = find(first, end, !shared);

            runs.push_back({first, run_end - first});
            first = run_end;
        }
        return runs;
    }

    uint64_t count(uint64_t first, uint64_t npages, bool shared) const
    {
        uint64_t count = 0;

        for (const PageRun &run : runs(first, npages, shared)) {
            count += run.npages;
        }
        return count;
    }

    void convert(uint64_t first, uint64_t npages, bool shared)
    {
        pages_.replace(first, npages, npages, shared ? kShared : kPrivate);
    }

    uint64_t npages() const { return pages_.size(); }

private:
    static constexpr char kPrivate = 'p';
    static constexpr char kShared = 's';

    uint64_t find(uint64_t first, uint64_t end, bool shared) const
    {
        return std::min<uint64_t>(
            pages_.find(shared ? kShared : kPrivate, first), end);
    }

    std::string pages_;
};

/* They are changed together, by the C interface, and must agree. */
class PageStatePair {
public:
    explicit PageStatePair(uint64_t npages)
        : map_(page_state_map_new(npages)), model_(npages)
    {
        MODEL_CHECK(map_ != nullptr);
    }

    uint64_t npages() const { return model_.npages(); }

    void convert(uint64_t first, uint64_t npages, bool shared)
    {
        const auto expected = model_.runs(first, npages, !shared);
        const uint64_t nexpected = model_.count(first, npages, !shared);
        Report report = {this, {}, shared};

        model_.convert(first, npages, shared);
        MODEL_CHECK_EQUAL(page_state_map_convert(map(), first, npages, shared,
                                                 report_run, &report),
                          nexpected);
        MODEL_CHECK(report.runs == expected);
        MODEL_CHECK_EQUAL(page_state_map_nshared(map()),
                          nshared(nexpected, shared));
    }

    /* As convert() does, for one who does not want to know what changed. */
    void convert_silently(uint64_t first, uint64_t npages, bool shared)
    {
        const uint64_t nexpected = model_.count(first, npages, !shared);

        model_.convert(first, npages, shared);
        MODEL_CHECK_EQUAL(page_state_map_convert(map(), first, npages, shared,
                                                 nullptr, nullptr),
                          nexpected);
        MODEL_CHECK_EQUAL(page_state_map_nshared(map()),
                          nshared(nexpected, shared));
    }

    void check(uint64_t first, uint64_t npages) const
    {
        for (bool shared : {false, true}) {
            check_next_run(first, npages, shared);
            check_all_of(first, npages, shared);
        }
        check_count(first, npages);
    }

    void check_next_run(uint64_t first, uint64_t npages, bool shared) const
    {
        constexpr uint64_t kUntouched = UINT64_MAX - 7;
        const auto expected = model_.runs(first, npages, shared);
        PageRun run = {kUntouched, kUntouched};

        MODEL_CHECK_EQUAL(page_state_map_next_run(map(), first, npages, shared,
                                                  &run.first, &run.npages),
                          !expected.empty());
        MODEL_CHECK_EQUAL(run, expected.empty()
                                   ? (PageRun{kUntouched, kUntouched})
                                   : expected.front());
    }

    void check_all_of(uint64_t first, uint64_t npages, bool shared) const
    {
        MODEL_CHECK_EQUAL(page_state_map_all(map(), first, npages, shared),
                          model_.count(first, npages, shared) == npages);
    }

    void check_count(uint64_t first, uint64_t npages) const
    {
        MODEL_CHECK_EQUAL(page_state_map_count_shared(map(), first, npages),
                          model_.count(first, npages, true));
    }

    /* Walk the whole map as those do who save or replay it. */
    void check_everything() const
    {
        const uint64_t npages = model_.npages();
        uint64_t first = 0;
        uint64_t found, size;

        for (const PageRun &run : model_.runs(0, npages, true)) {
            MODEL_CHECK(page_state_map_next_run(map(), first, npages - first,
                                                true, &found, &size) &&
                        found == run.first && size == run.npages);
            first = run.first + run.npages;
        }
        MODEL_CHECK(!page_state_map_next_run(map(), first, npages - first, true,
                                             &found, &size));
        MODEL_CHECK_EQUAL(page_state_map_nshared(map()),
                          model_.count(0, npages, true));
        MODEL_CHECK_EQUAL(page_state_map_nruns(map()),
                          model_.runs(0, npages, true).size());
        check(0, npages);
    }

private:
    using Map = ::PageStateMap;

    struct Report {
        PageStatePair *pair;
        std::vector<PageRun> runs;
        bool shared;
    };

    struct Free {
        void operator()(Map *map) const { page_state_map_free(map); }
    };

    static void report_run(void *opaque, uint64_t first, uint64_t npages)
    {
        Report *report = static_cast<Report *>(opaque);

        /* A run is reported after it changed. */
        MODEL_CHECK(page_state_map_all(report->pair->map(), first, npages,
                                       report->shared));
        report->runs.push_back({first, npages});
    }

    /* How many there are when @nchanged pages have become @shared or not. */
    uint64_t nshared(uint64_t nchanged, bool shared)
    {
        nshared_ += shared ? nchanged : -nchanged;
        return nshared_;
    }

    Map *map() const { return map_.get(); }

    std::unique_ptr<Map, Free> map_;
    PageStateModel model_;
    uint64_t nshared_ = 0;
};

} // namespace shared_dma

#endif
