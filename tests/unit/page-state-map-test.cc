/*
 * PageStateMap against a model that is too simple to be wrong
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "system/page-state-map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

extern "C" {
#include "system/page-state-map-c.h"
}

namespace {

using gmem::PageRun;
using gmem::PageState;

constexpr PageState kPrivate = PageState::kPrivate;
constexpr PageState kShared = PageState::kShared;
constexpr uint64_t kGroup = 4096;

/* One element a page, one step a page. */
class Model {
public:
    explicit Model(uint64_t npages) : pages_(npages, kPrivate) {}

    std::vector<PageRun> runs(uint64_t first, uint64_t npages,
                              PageState state) const
    {
        std::vector<PageRun> runs;

        for (uint64_t p = first; p < first + npages; p++) {
            if (pages_[p] != state) {
                continue;
            }
            if (!runs.empty() && runs.back().first + runs.back().npages == p) {
                runs.back().npages++;
            } else {
                runs.push_back({p, 1});
            }
        }
        return runs;
    }

    uint64_t count(uint64_t first, uint64_t npages, PageState state) const
    {
        return std::count(pages_.begin() + first,
                          pages_.begin() + first + npages, state);
    }

    void convert(uint64_t first, uint64_t npages, PageState state)
    {
        std::fill_n(pages_.begin() + first, npages, state);
    }

    uint64_t npages() const { return pages_.size(); }

private:
    std::vector<PageState> pages_;
};

PageState opposite(PageState state)
{
    return state == kShared ? kPrivate : kShared;
}

/* A map and a model that are changed together and must agree. */
class Pair {
public:
    explicit Pair(uint64_t npages)
        : map_(gmem::PageStateMap::create(npages)), model_(npages)
    {
    }

    void convert(uint64_t first, uint64_t npages, PageState state)
    {
        const auto expected = model_.runs(first, npages, opposite(state));
        std::vector<PageRun> changed;
        uint64_t nexpected = 0;

        for (const PageRun &run : expected) {
            nexpected += run.npages;
        }
        model_.convert(first, npages, state);

        EXPECT_EQ(map_->convert(first, npages, state,
                                [&](PageRun run) {
                                    /* A run is reported after it changed. */
                                    EXPECT_TRUE(map_->all(run.first, run.npages,
                                                          state));
                                    changed.push_back(run);
                                }),
                  nexpected);
        EXPECT_EQ(changed, expected) << "at " << first << "+" << npages;
    }

    void check(uint64_t first, uint64_t npages) const
    {
        for (PageState state : {kPrivate, kShared}) {
            const auto expected = model_.runs(first, npages, state);
            const auto run = map_->next_run(first, npages, state);

            ASSERT_EQ(run.has_value(), !expected.empty());
            if (run) {
                EXPECT_EQ(*run, expected.front());
            }
            EXPECT_EQ(map_->all(first, npages, state),
                      model_.count(first, npages, state) == npages);
        }
        EXPECT_EQ(map_->count_shared(first, npages),
                  model_.count(first, npages, kShared));
    }

    void check_all() const
    {
        const uint64_t npages = model_.npages();
        uint64_t first = 0;

        for (const PageRun &run : model_.runs(0, npages, kShared)) {
            EXPECT_EQ(map_->next_run(first, npages - first, kShared), run);
            first = run.first + run.npages;
        }
        EXPECT_FALSE(map_->next_run(first, npages - first, kShared));
        EXPECT_EQ(map_->nshared(), model_.count(0, npages, kShared));
        check(0, npages);
    }

private:
    std::unique_ptr<gmem::PageStateMap> map_;
    Model model_;
};

TEST(PageStateMap, StartsPrivate)
{
    const auto map = gmem::PageStateMap::create(3 * kGroup + 5);

    ASSERT_TRUE(map);
    EXPECT_EQ(map->npages(), 3 * kGroup + 5);
    EXPECT_EQ(map->nshared(), 0u);
    EXPECT_TRUE(map->all(0, 3 * kGroup + 5, kPrivate));
    EXPECT_FALSE(map->next_run(0, 3 * kGroup + 5, kShared));
}

TEST(PageStateMap, EmptyMapAndEmptyRange)
{
    const auto empty = gmem::PageStateMap::create(0);
    const auto map = gmem::PageStateMap::create(10);

    ASSERT_TRUE(empty && map);
    EXPECT_EQ(empty->nshared(), 0u);
    EXPECT_TRUE(empty->all(0, 0, kShared));
    EXPECT_FALSE(empty->next_run(0, 0, kPrivate));

    EXPECT_EQ(map->convert(10, 0, kShared, [](PageRun) { FAIL(); }), 0u);
    EXPECT_TRUE(map->all(10, 0, kShared));
    EXPECT_FALSE(map->next_run(3, 0, kPrivate));
    EXPECT_EQ(map->count_shared(3, 0), 0u);
}

/*
 * All pairs of borders that matter, in a map of two groups and a bit: the
 * words at the ends of the groups, and the groups themselves.
 */
TEST(PageStateMap, BordersOfWordsAndGroups)
{
    constexpr uint64_t kNpages = 2 * kGroup + 70;
    const uint64_t borders[] = {0,
                                1,
                                63,
                                64,
                                65,
                                127,
                                128,
                                kGroup - 65,
                                kGroup - 64,
                                kGroup - 1,
                                kGroup,
                                kGroup + 1,
                                kGroup + 63,
                                kGroup + 64,
                                kGroup + 65,
                                2 * kGroup - 1,
                                2 * kGroup,
                                2 * kGroup + 1,
                                2 * kGroup + 63,
                                2 * kGroup + 64,
                                kNpages - 1,
                                kNpages};

    for (uint64_t first : borders) {
        for (uint64_t end : borders) {
            if (first >= end) {
                continue;
            }
            Pair pair(kNpages);

            /* A range in a private map, a hole in it, and back. */
            pair.convert(first, end - first, kShared);
            pair.check_all();
            pair.convert(first + (end - first) / 2, 1, kPrivate);
            pair.check_all();
            pair.convert(0, kNpages, kShared);
            pair.check_all();
            pair.convert(first, end - first, kPrivate);
            pair.check_all();
            for (uint64_t border : borders) {
                pair.check(0, border);
                pair.check(border, kNpages - border);
            }
        }
    }
}

/* A group that was uniform has stale words: they must not be believed. */
TEST(PageStateMap, UniformGroupsForgetTheirWords)
{
    Pair pair(3 * kGroup);

    for (uint64_t page = 0; page < 3 * kGroup; page += 2) {
        pair.convert(page, 1, kShared);
    }
    pair.convert(0, 3 * kGroup, kShared);
    pair.check_all();
    pair.convert(kGroup + 17, 1, kPrivate);
    pair.check_all();
    pair.convert(0, 3 * kGroup, kPrivate);
    pair.convert(kGroup + 16, 3, kShared);
    pair.check_all();

    /* Uniform again one page at a time. */
    pair.convert(kGroup, kGroup, kPrivate);
    for (uint64_t page = kGroup; page < 2 * kGroup; page++) {
        pair.convert(page, 1, kShared);
    }
    pair.check_all();
}

class RandomConversions : public testing::TestWithParam<uint64_t> {};

TEST_P(RandomConversions, AgreeWithModel)
{
    const uint64_t npages = GetParam();
    std::mt19937_64 random(npages);
    Pair pair(npages);

    for (int step = 0; step < 3000; step++) {
        /* Sizes of one page up to all of the map, evenly by magnitude. */
        const uint64_t limit = std::min(npages, UINT64_C(1) << random() % 15);
        const uint64_t size = 1 + random() % limit;
        const uint64_t first = random() % (npages - size + 1);

        pair.convert(first, size, random() % 2 ? kShared : kPrivate);
        pair.check(random() % npages, 0);
        const uint64_t from = random() % npages;
        pair.check(from, random() % (npages - from + 1));
        if (step % 100 == 0) {
            pair.check_all();
        }
        if (testing::Test::HasFailure()) {
            FAIL() << "first failure at step " << step;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Sizes, RandomConversions,
                         testing::Values(1, 63, 64, 65, kGroup - 1, kGroup,
                                         kGroup + 1, 2 * kGroup + 100,
                                         5 * kGroup));

/* 16 TiB of RAM: what is not touched costs nothing, searching is quick. */
TEST(PageStateMap, SixteenTebibytes)
{
    constexpr uint64_t kNpages = (UINT64_C(16) << 40) / 4096;
    const auto map = gmem::PageStateMap::create(kNpages);

    ASSERT_TRUE(map);
    EXPECT_EQ(map->convert(kNpages - 1, 1, kShared, [](PageRun) {}), 1u);
    EXPECT_EQ(map->next_run(0, kNpages, kShared), (PageRun{kNpages - 1, 1}));
    EXPECT_EQ(map->convert(0, kNpages, kShared, [](PageRun) {}), kNpages - 1);
    EXPECT_EQ(map->nshared(), kNpages);
    EXPECT_TRUE(map->all(0, kNpages, kShared));
}

TEST(PageStateMap, NoMemoryIsReported)
{
    EXPECT_FALSE(gmem::PageStateMap::create(UINT64_C(1) << 60));
}

TEST(PageStateMapC, MirrorsTheClass)
{
    PageStateMap *map = page_state_map_new(100);
    std::vector<PageRun> changed;
    uint64_t first = 0, npages = 0;
    auto record = [](void *opaque, uint64_t first, uint64_t npages) {
        static_cast<std::vector<PageRun> *>(opaque)->push_back({first, npages});
    };

    ASSERT_TRUE(map);
    EXPECT_EQ(page_state_map_convert(map, 10, 20, true, nullptr, nullptr), 20u);
    EXPECT_EQ(page_state_map_convert(map, 0, 50, true, record, &changed), 30u);
    EXPECT_EQ(changed, (std::vector<PageRun>{{0, 10}, {30, 20}}));
    EXPECT_TRUE(page_state_map_all(map, 0, 50, true));
    EXPECT_FALSE(page_state_map_all(map, 0, 51, true));
    EXPECT_TRUE(page_state_map_next_run(map, 5, 95, false, &first, &npages));
    EXPECT_EQ(first, 50u);
    EXPECT_EQ(npages, 50u);
    EXPECT_FALSE(page_state_map_next_run(map, 50, 50, true, &first, &npages));
    EXPECT_EQ(page_state_map_count_shared(map, 40, 20), 10u);
    EXPECT_EQ(page_state_map_nshared(map), 50u);
    page_state_map_free(map);
    page_state_map_free(nullptr);
}

} // namespace
