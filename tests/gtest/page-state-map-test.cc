/*
 * PageStateMap against a model that is too simple to be wrong
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "system/page-state-map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <vector>

#include "tests/model/page-state-driver.h"

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

constexpr PageState kPrivate = PAGE_STATE_PRIVATE;
constexpr PageState kShared = PAGE_STATE_SHARED;
constexpr uint64_t kGroup = 4096;

/* Adds the range to the reports of failures. */
class Pair : public shared_dma::PageStatePair {
public:
    using PageStatePair::PageStatePair;

    void convert(uint64_t first, uint64_t npages, PageState state)
    {
        SCOPED_TRACE(testing::Message() << "at " << first << "+" << npages);
        PageStatePair::convert(first, npages, state);
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

/* All pairs of word and group boundaries, in a map of more than two groups */
TEST(PageStateMap, BoundariesOfWordsAndGroups)
{
    constexpr uint64_t kNpages = 2 * kGroup + 70;
    const uint64_t boundaries[] = {0,
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

    for (uint64_t first : boundaries) {
        for (uint64_t end : boundaries) {
            if (first >= end) {
                continue;
            }
            Pair pair(kNpages);

            /* Share a range of a private map, make a hole, and undo both. */
            pair.convert(first, end - first, kShared);
            pair.check_everything();
            pair.convert(first + (end - first) / 2, 1, kPrivate);
            pair.check_everything();
            pair.convert(0, kNpages, kShared);
            pair.check_everything();
            pair.convert(first, end - first, kPrivate);
            pair.check_everything();
            for (uint64_t boundary : boundaries) {
                pair.check(0, boundary);
                pair.check(boundary, kNpages - boundary);
            }
        }
    }
}

/* The words of a group that has been uniform are stale. */
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

    /* Make the group uniform again one page at a time. */
    pair.convert(kGroup, kGroup, kPrivate);
    for (uint64_t page = kGroup; page < 2 * kGroup; page++) {
        pair.convert(page, 1, kShared);
    }
    pair.check_everything();
}

class RandomOperations : public testing::TestWithParam<uint64_t> {};

TEST_P(RandomOperations, AgreeWithModel)
{
    constexpr size_t kSteps = 3000, kRecordSize = 7;
    const uint64_t npages = GetParam();
    std::mt19937_64 random(npages);
    std::vector<uint8_t> bytes = {static_cast<uint8_t>(npages),
                                  static_cast<uint8_t>(npages >> 8)};

    std::generate_n(std::back_inserter(bytes), kSteps * kRecordSize,
                    [&] { return static_cast<uint8_t>(random()); });

    shared_dma::PageStateDriver driver({bytes.data(), bytes.size()}, [] {});

    for (size_t step = 0; !driver.at_end(); step++) {
        driver.step();
        if (step % 100 == 0) {
            driver.check_everything();
        }
        if (testing::Test::HasFailure()) {
            FAIL() << "first failure at step " << step;
        }
    }
    driver.check_everything();
}

INSTANTIATE_TEST_SUITE_P(Sizes, RandomOperations,
                         testing::Values(1, 63, 64, 65, kGroup - 1, kGroup,
                                         kGroup + 1, 2 * kGroup + 100,
                                         5 * kGroup));

/* 16 TiB of RAM: untouched memory costs nothing, and searches are fast. */
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
    EXPECT_EQ(page_state_map_convert(map, 10, 20, kShared, nullptr, nullptr),
              20u);
    EXPECT_EQ(page_state_map_convert(map, 0, 50, kShared, record, &changed),
              30u);
    EXPECT_EQ(changed, (std::vector<PageRun>{{0, 10}, {30, 20}}));
    EXPECT_TRUE(page_state_map_all(map, 0, 50, kShared));
    EXPECT_FALSE(page_state_map_all(map, 0, 51, kShared));
    EXPECT_TRUE(page_state_map_next_run(map, 5, 95, kPrivate, &first, &npages));
    EXPECT_EQ(first, 50u);
    EXPECT_EQ(npages, 50u);
    EXPECT_FALSE(
        page_state_map_next_run(map, 50, 50, kShared, &first, &npages));
    EXPECT_EQ(page_state_map_count_shared(map, 40, 20), 10u);
    EXPECT_EQ(page_state_map_nshared(map), 50u);
    EXPECT_EQ(page_state_map_nruns(map), 1u);
    page_state_map_free(map);
    page_state_map_free(nullptr);
}

} // namespace
