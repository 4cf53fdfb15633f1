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

#include "tests/model/page-state-pair.h"

extern "C" {
#include "system/page-state-map-c.h"
}

void shared_dma::model_check_failed(const char *file, int line,
                                    const std::string &what)
{
    ADD_FAILURE_AT(file, line) << what;
}

namespace {

using shared_dma::PageRun;
using shared_dma::PageState;

constexpr PageState kPrivate = PageState::kPrivate;
constexpr PageState kShared = PageState::kShared;
constexpr uint64_t kGroup = 4096;

/* A map and a model that are changed together and must agree. */
class Pair : public shared_dma::PageStatePair {
public:
    using PageStatePair::PageStatePair;

    void convert(uint64_t first, uint64_t npages, PageState state)
    {
        SCOPED_TRACE(testing::Message() << "at " << first << "+" << npages);
        PageStatePair::convert(first, npages, state == kShared);
    }
};

TEST(PageStateMap, StartsPrivate)
{
    const auto map = shared_dma::PageStateMap::create(3 * kGroup + 5);

    ASSERT_TRUE(map);
    EXPECT_EQ(map->npages(), 3 * kGroup + 5);
    EXPECT_EQ(map->nshared(), 0u);
    EXPECT_TRUE(map->all(0, 3 * kGroup + 5, kPrivate));
    EXPECT_FALSE(map->next_run(0, 3 * kGroup + 5, kShared));
}

TEST(PageStateMap, EmptyMapAndEmptyRange)
{
    const auto empty = shared_dma::PageStateMap::create(0);
    const auto map = shared_dma::PageStateMap::create(10);

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
            pair.check_everything();
            pair.convert(first + (end - first) / 2, 1, kPrivate);
            pair.check_everything();
            pair.convert(0, kNpages, kShared);
            pair.check_everything();
            pair.convert(first, end - first, kPrivate);
            pair.check_everything();
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
    pair.check_everything();
    pair.convert(kGroup + 17, 1, kPrivate);
    pair.check_everything();
    pair.convert(0, 3 * kGroup, kPrivate);
    pair.convert(kGroup + 16, 3, kShared);
    pair.check_everything();

    /* Uniform again one page at a time. */
    pair.convert(kGroup, kGroup, kPrivate);
    for (uint64_t page = kGroup; page < 2 * kGroup; page++) {
        pair.convert(page, 1, kShared);
    }
    pair.check_everything();
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
            pair.check_everything();
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
    const auto map = shared_dma::PageStateMap::create(kNpages);

    ASSERT_TRUE(map);
    EXPECT_EQ(map->convert(kNpages - 1, 1, kShared, [](PageRun) {}), 1u);
    EXPECT_EQ(map->next_run(0, kNpages, kShared), (PageRun{kNpages - 1, 1}));
    EXPECT_EQ(map->convert(0, kNpages, kShared, [](PageRun) {}), kNpages - 1);
    EXPECT_EQ(map->nshared(), kNpages);
    EXPECT_TRUE(map->all(0, kNpages, kShared));
}

TEST(PageStateMap, NoMemoryIsReported)
{
    EXPECT_FALSE(shared_dma::PageStateMap::create(UINT64_C(1) << 60));
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
    EXPECT_EQ(page_state_map_nruns(map), 1u);
    page_state_map_free(map);
    page_state_map_free(nullptr);
}

} // namespace
