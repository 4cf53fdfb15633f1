/*
 * DmaLayout: limits of the number of mappings
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "tests/gtest/dma-layout-test.h"

namespace {

using shared_dma::DmaBudget;
using shared_dma::IommuKind;
using shared_dma::rig::Event;
using shared_dma::rig::Memory;
using shared_dma::rig::Rig;
using shared_dma::rig::kGiB;
using shared_dma::rig::kLarge;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;
using shared_dma::rig::kTiB;

TEST(DmaLayoutBudget, BlocksGrowUnderPressure)
{
    Rig rig(IommuKind::kType1v2, 64);
    const uint64_t limit = 48;
    uint64_t used = 0;

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stats().entries_left, limit);
    for (; used < limit; used++) {
        const uint64_t left = limit - used;
        unsigned level = 0;

        while (level < 5 && left < limit >> (level + 1)) {
            level++;
        }
        EXPECT_EQ(rig.stats().block_size,
                  std::min(2 * kMiB << (4 * level), kGiB));
        EXPECT_EQ(rig.stats().entries_left, left);
        /* None of them touch, so they cannot be merged. */
        EXPECT_EQ(rig.populate(used * kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.stats().entries_left, 0u);
    EXPECT_EQ(rig.populate(limit * kGiB, kPage), -ENOSPC);
    EXPECT_EQ(rig.size(), limit);
    EXPECT_EQ(rig.stats().merges, 0u);
    ASSERT_EQ(rig.count_events(DMA_LAYOUT_PRESSURE), 5u);
    EXPECT_EQ(rig.events()[0], (Event{DMA_LAYOUT_PRESSURE, 0, 32 * kMiB, 25}));
    EXPECT_EQ(rig.events()[1], (Event{DMA_LAYOUT_PRESSURE, 0, 512 * kMiB, 37}));

    /* The blocks shrink again. */
    rig.forget_events();
    EXPECT_EQ(rig.discard(0, 24 * kGiB), 0);
    EXPECT_EQ(rig.stats().block_size, 2 * kMiB);
    EXPECT_EQ(rig.events(),
              (std::vector<Event>{{DMA_LAYOUT_PRESSURE, 0, 2 * kMiB, 24}}));
}

/* Pressure makes new extents larger, and leaves the others as they are. */
TEST(DmaLayoutBudget, NothingIsMergedUnderPressure)
{
    Rig rig(IommuKind::kType1v2, 64);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 0; i < 48; i++) {
        EXPECT_EQ(rig.stats().entries_left, 48 - i);
        EXPECT_EQ(rig.populate(i * 2 * kMiB, 2 * kMiB), 0);
    }
    EXPECT_EQ(rig.nunmaps(), 0u);
    EXPECT_EQ(rig.size(), 48u);

    /* The first three blocks of 32 MiB are merged for the next request. */
    EXPECT_EQ(rig.populate(48 * 2 * kMiB, 2 * kMiB), 0);
    EXPECT_EQ(rig.stats().merges, 3u);
    EXPECT_EQ(rig.layout().extents().at(0).size, 32 * kMiB);
    EXPECT_EQ(rig.nunmaps(), 3u);
    EXPECT_EQ(rig.size(), 4u);
    EXPECT_EQ(std::count(rig.events().begin(), rig.events().end(),
                         Event{DMA_LAYOUT_MERGE, 0, 32 * kMiB, 16}),
              1);
}

/* A request gets at most half of the entries that are left. */
TEST(DmaLayoutBudget, LeavesEntriesForTheNextRequest)
{
    for (const bool open_first : {true, false}) {
        Rig rig(IommuKind::kType1v2, 64);

        if (open_first) {
            EXPECT_EQ(rig.open(), 0);
        } else {
            EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_AUTO), 0);
        }
        EXPECT_EQ(rig.populate(0, 64 * kMiB), 0);
        EXPECT_EQ(rig.size(), 16u);
        EXPECT_EQ(rig.populate(kTiB, 64 * kMiB), 0);
        EXPECT_EQ(rig.size(), 32u);
        EXPECT_EQ(rig.populate(2 * kTiB, 64 * kMiB), 0);
        EXPECT_EQ(rig.size(), 34u);
        EXPECT_EQ(rig.nunmaps(), 0u);
    }
}

std::vector<uint64_t> merged_iovas(const Rig &rig)
{
    std::vector<uint64_t> iovas;

    for (const Event &event : rig.events()) {
        if (event.what == DMA_LAYOUT_MERGE) {
            iovas.push_back(event.iova);
        }
    }
    return iovas;
}

/* Extents of a stream are merged first, and among them those in one block. */
TEST(DmaLayoutBudget, MergesExtentsOfStreamsFirst)
{
    Rig rig(IommuKind::kType1v2, 256);

    EXPECT_EQ(rig.open(), 0);
    /* Backwards, which is not a stream. */
    for (uint64_t i = 67; i >= 64; i--) {
        EXPECT_EQ(rig.populate(i * kLarge, kLarge), 0);
    }
    /* A stream of 16 blocks. */
    EXPECT_EQ(rig.populate(64 * kMiB, 32 * kMiB), 0);
    /* A stream in a block. */
    for (uint64_t i = 0; i < 4; i++) {
        EXPECT_EQ(rig.populate(kGiB + i * kLarge, kLarge), 0);
    }
    /* Small requests are not merged. */
    for (uint64_t i = 0; i < 8; i++) {
        EXPECT_EQ(rig.populate(2 * kGiB + i * kPage, kPage), 0);
    }
    while (rig.stats().entries_left) {
        EXPECT_EQ(rig.populate(kTiB + rig.size() * kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.stats().merges, 0u);
    rig.forget_events();
    for (uint64_t i = 0; i < 3 + 15 + 3; i++) {
        EXPECT_EQ(rig.populate(2 * kTiB + i * kGiB, kPage), 0);
    }
    EXPECT_EQ(merged_iovas(rig),
              (std::vector<uint64_t>{kGiB, 64 * kMiB, 32 * kMiB}));
    EXPECT_EQ(rig.layout().extents().at(kGiB).size, 2 * kMiB);
    EXPECT_EQ(rig.layout().extents().at(64 * kMiB).size, 32 * kMiB);
    EXPECT_EQ(rig.layout().extents().at(32 * kMiB).size, 2 * kMiB);
    EXPECT_EQ(rig.layout().extents().at(2 * kGiB).size, kPage);
}

/* Only extents whose properties match are merged. */
TEST(DmaLayoutBudget, NeverMergesExtentsThatDiffer)
{
    Rig rig(IommuKind::kType1v2, 8);
    const Memory plain;

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, kPage, plain), 0);
    EXPECT_EQ(rig.populate(kPage, kPage, {.access = DMA_LAYOUT_READ_ONLY}), 0);
    EXPECT_EQ(rig.populate(2 * kPage, kPage, plain), 0);
    EXPECT_EQ(rig.populate(3 * kPage, kPage, {.offset = kTiB}), 0);
    EXPECT_EQ(rig.populate(4 * kPage, 2 * kPage,
                           {.offset = kTiB, .access = DMA_LAYOUT_READ_ONLY}),
              0);
    EXPECT_EQ(rig.populate(6 * kPage, kPage, {.offset = 2 * kTiB}), 0);
    EXPECT_EQ(rig.populate(7 * kPage, kPage, {.access = DMA_LAYOUT_READ_ONLY}),
              -ENOSPC);
    EXPECT_EQ(rig.size(), 6u);
    EXPECT_EQ(rig.stats().merges, 0u);
}

/* Neighbouring requests, populated in any order, under any limit. */
class DmaLayoutLimit : public testing::TestWithParam<uint32_t> {};

TEST_P(DmaLayoutLimit, FailsOnlyWithoutNeighbours)
{
    const uint32_t limit = GetParam();

    for (bool open_first : {true, false}) {
        Rig rig(IommuKind::kType1v2, limit);

        if (open_first) {
            EXPECT_EQ(rig.open(), 0);
        } else {
            EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_AUTO), 0);
        }

        const uint64_t entries = rig.stats().entries_left;

        EXPECT_EQ(entries, limit - std::min(limit / 4, UINT32_C(64)));
        /* Backwards, which is not a stream. */
        for (uint64_t i = 3 * limit; i > 0; i--) {
            ASSERT_EQ(rig.populate(i * kLarge, kLarge), 0);
        }
        EXPECT_LE(rig.size(), entries);
        EXPECT_EQ(rig.open(), 0);

        /* Pages without neighbours. */
        uint64_t i = 0;
        int ret;

        do {
            ret = rig.populate(kTiB + i++ * 2 * kPage, kPage);
        } while (!ret);
        EXPECT_EQ(ret, -ENOSPC);
        EXPECT_FALSE(rig.has_neighbours());
        EXPECT_EQ(i, entries);
        EXPECT_EQ(rig.size(), entries);

        /* Splits use the reserve first, and continue without entries. */
        for (uint64_t n = 2; n < 3 * limit; n += 2) {
            EXPECT_EQ(rig.discard(n * kLarge, kLarge), 0);
            EXPECT_EQ(rig.stats().missing_size == 0,
                      rig.size() <= rig.model().mappings().size());
        }
        EXPECT_EQ(rig.discard(kTiB, kGiB), 0);
        EXPECT_EQ(rig.discard(0, kGiB), 0);
        EXPECT_EQ(rig.size(), 0u);
        EXPECT_EQ(rig.stats().missing_size, 0u);
    }
}

/* A request that needs too many blocks is cut into larger extents. */
TEST_P(DmaLayoutLimit, CutsSoThatItFits)
{
    Rig rig(IommuKind::kType1v2, GetParam());

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(kTiB, kTiB), 0);
    EXPECT_LE(rig.size(), GetParam());
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.discard(kTiB, kTiB), 0);
}

INSTANTIATE_TEST_SUITE_P(Limits, DmaLayoutLimit,
                         testing::Values(2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31,
                                         33, 64, 100, 128, 199, 200, 257, 300));

/* A request that fails also undoes the growth of an extent. */
TEST(DmaLayoutBudget, RecordingThatFailsChangesNothing)
{
    Rig rig(IommuKind::kType1v2, 3);

    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_AUTO), 0);
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_EQ(rig.populate(kTiB - 2 * kPage, kPage), 0);
    EXPECT_EQ(rig.populate(2 * kTiB, kPage), 0);
    EXPECT_EQ(rig.stats().entries_left, 0u);
    EXPECT_EQ(rig.populate(kTiB - kPage, 2 * kPage), -ENOSPC);
    EXPECT_EQ(rig.size(), 3u);
    EXPECT_EQ(rig.stats().largest_extent, kPage);
}

/* Small requests fail when the last entry is used, even next to each other. */
TEST(DmaLayoutBudget, SmallRequestsAreNeverMerged)
{
    Rig rig(IommuKind::kType1v2, 20);
    uint64_t n = 0;

    EXPECT_EQ(rig.open(), 0);
    while (!rig.populate(n * kPage, kPage)) {
        n++;
    }
    EXPECT_EQ(n, 15u);
    EXPECT_EQ(rig.populate(2 * kMiB, 2 * kMiB), -ENOSPC);
    EXPECT_EQ(rig.nunmaps(), 0u);
    EXPECT_EQ(rig.discard(0, kPage), 0);
    EXPECT_EQ(rig.populate(2 * kMiB, 2 * kMiB), 0);
    EXPECT_EQ(rig.size(), 15u);
    EXPECT_EQ(rig.stats().splits, 0u);
}

/* The rest of a small request is not merged, either. */
TEST(DmaLayoutBudget, PartsOfSmallRequestsAreNeverMerged)
{
    Rig rig(IommuKind::kType1v2, 20);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 16 * kPage), 0);
    EXPECT_EQ(rig.discard(0, kPage), 0);
    EXPECT_EQ(rig.extents(), "1+1 2+2 4+4 8+8");
    while (rig.stats().entries_left) {
        EXPECT_EQ(rig.populate(kTiB + rig.size() * kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.populate(kGiB, kPage), -ENOSPC);
    EXPECT_EQ(rig.stats().merges, 0u);
}

/* Nothing that is not mapped yet is disturbed if it is merged. */
TEST(DmaLayoutBudget, RecordedRequestsAreMergedIfTheyDoNotFit)
{
    Rig rig(IommuKind::kType1v2, 20);

    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_AUTO), 0);
    for (uint64_t i = 0; i < 1000; i++) {
        EXPECT_EQ(rig.populate(i * kPage, kPage), 0);
    }
    EXPECT_LE(rig.size(), 15u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.nunmaps(), 0u);
    EXPECT_EQ(rig.stats().merges, 0u);
}

/* A hole unmaps at most 1 GiB, even if entries are scarce. */
TEST(DmaLayoutBudget, BlocksDoNotGrowTooLarge)
{
    Rig rig(IommuKind::kType1v2, 400);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 0; rig.stats().entries_left > 20; i++) {
        EXPECT_EQ(rig.populate(kTiB + i * kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.populate(16 * kGiB, 9 * kGiB), 0);
    EXPECT_EQ(rig.stats().largest_extent, kGiB);
}

/* If the kernel is out of memory, not every merge is tried. */
TEST(DmaLayoutBudget, MergingStopsWhenItFails)
{
    Rig rig(IommuKind::kType1v2, 8);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 0; i < 3; i++) {
        EXPECT_EQ(rig.populate((10 * i + 1) * kLarge, kLarge), 0);
        EXPECT_EQ(rig.populate(10 * i * kLarge, kLarge), 0);
    }
    EXPECT_EQ(rig.stats().entries_left, 0u);
    rig.model().fail_map(1, ENOMEM);
    EXPECT_EQ(rig.populate(kGiB, kPage), -ENOSPC);
    EXPECT_EQ(rig.stats().unmap_calls, 1u);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
}

/* Each attempt would map all extents that fit, and unmap them again. */
TEST(DmaLayoutBudget, OpenThatCannotSucceedMapsNothing)
{
    Rig rig(IommuKind::kType1v2, 16);

    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_AUTO), 0);
    EXPECT_EQ(rig.populate(0, kMiB), 0);
    for (uint64_t page = 1; page < 64; page += 2) {
        EXPECT_EQ(rig.discard(page * kPage, kPage), 0);
    }
    EXPECT_EQ(rig.open(), -ENOSPC);
    EXPECT_EQ(rig.stats().map_calls, 0u);
    EXPECT_EQ(rig.discard(0, kMiB / 2), 0);
    EXPECT_EQ(rig.open(), 0);
}

TEST(DmaLayoutBudget, OneEntry)
{
    Rig rig(IommuKind::kType1v2, 1);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(kTiB, kTiB), 0);
    EXPECT_EQ(rig.size(), 1u);
    EXPECT_EQ(rig.populate(0, kPage), -ENOSPC);
    EXPECT_EQ(rig.discard(kTiB + kPage, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, kTiB - 2 * kPage);
    EXPECT_EQ(rig.discard(kTiB, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, 0u);
}

TEST(DmaLayoutBudget, OpenThatFindsTooFewEntries)
{
    for (uint32_t limit = 1; limit <= 20; limit++) {
        Rig rig(IommuKind::kType1v2, limit);

        for (uint64_t i = 0; i < 20; i++) {
            EXPECT_EQ(rig.populate(i * 2 * kPage, kPage), 0);
        }
        EXPECT_EQ(rig.open(), limit < 20 ? -ENOSPC : 0);
        if (limit < 20) {
            EXPECT_EQ(rig.model().mappings().size(), 0u);
            EXPECT_EQ(rig.discard(0, (20 - limit) * 2 * kPage), 0);
            EXPECT_EQ(rig.open(), 0);
            EXPECT_EQ(rig.model().mappings().size(), limit);
        }
    }
}

TEST(DmaLayoutBudget, OpenMergesExtentsThatDoNotFit)
{
    Rig rig(IommuKind::kType1v2, 16);

    for (uint64_t i = 100; i > 0; i--) {
        EXPECT_EQ(rig.populate(i * kPage, kPage), 0);
    }
    EXPECT_EQ(rig.size(), 100u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_LE(rig.size(), 12u);
    EXPECT_EQ(rig.nunmaps(), 0u);
}

TEST(DmaLayoutBudget, SplitsAtTheLimit)
{
    Rig rig(IommuKind::kType1v2, 5);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    for (uint64_t i = 1; i < 4; i++) {
        EXPECT_EQ(rig.populate(i * kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.populate(kTiB, kPage), -ENOSPC);
    rig.forget_events();

    /* Only one entry is reserved, so the remainders are coarse. */
    EXPECT_EQ(rig.discard(100 * kPage, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+100 101+411 262144+1 524288+1 786432+1");
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.events(),
              (std::vector<Event>{{DMA_LAYOUT_SPLIT, 0, 2 * kMiB, 2}}));

    /* No entry is left, so one of the remainders is missing. */
    rig.forget_events();
    EXPECT_EQ(rig.discard(50 * kPage, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+50 51+49 101+411 262144+1 524288+1 786432+1");
    EXPECT_EQ(rig.stats().missing_size, 49 * kPage);
    EXPECT_EQ(rig.events(),
              (std::vector<Event>{
                  {DMA_LAYOUT_MISSING, 51 * kPage, 49 * kPage, ENOSPC},
                  {DMA_LAYOUT_SPLIT, 0, 100 * kPage, 2}}));
    EXPECT_EQ(rig.populate(kTiB, kPage), -ENOSPC);

    /* It is mapped as soon as an entry is free. */
    rig.forget_events();
    EXPECT_EQ(rig.discard(3 * kGiB, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.events(), (std::vector<Event>{{DMA_LAYOUT_RECOVERED,
                                                 51 * kPage, 49 * kPage, 1}}));
}

/* Missing extents can be discarded like others. */
TEST(DmaLayoutBudget, DiscardsMissingExtents)
{
    Rig rig(IommuKind::kType1v2, 2);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    EXPECT_EQ(rig.discard(100 * kPage, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, 411 * kPage);

    /* A hole in a missing extent needs no call; the rest stays missing. */
    const uint64_t nunmaps = rig.nunmaps();

    EXPECT_EQ(rig.discard(200 * kPage, kPage), 0);
    EXPECT_EQ(rig.nunmaps(), nunmaps);
    EXPECT_EQ(rig.stats().missing_size, 410 * kPage);
    EXPECT_EQ(rig.discard(101 * kPage, kMiB), 0);
    EXPECT_EQ(rig.nunmaps(), nunmaps);
    EXPECT_EQ(rig.discard(0, kTiB), 0);
    EXPECT_EQ(rig.nunmaps(), nunmaps + 1);
}

/* Closing clears the list of missing extents; opening maps them or fails. */
TEST(DmaLayoutBudget, ReopensWithMissingExtents)
{
    Rig rig(IommuKind::kType1v2, 2);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    EXPECT_EQ(rig.discard(100 * kPage, kPage), 0);
    EXPECT_GT(rig.stats().missing_size, 0u);
    rig.close();
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.open(), -ENOSPC);
    EXPECT_EQ(rig.discard(kGiB, kPage), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.layout().extents().nmapped(), 2u);
}

TEST(DmaLayoutBudget, OtherUsersTakeEntries)
{
    for (uint32_t limit : {20, 100, 300, 1000}) {
        Rig rig(IommuKind::kType1v2, limit);
        const uint64_t count = limit - std::min(limit / 4, UINT32_C(64));

        EXPECT_EQ(rig.open(), 0);
        rig.check_seldom();
        for (uint64_t i = count; i > 0; i--) {
            EXPECT_EQ(rig.populate(i * kLarge, kLarge), 0);
        }
        rig.check(true);
        rig.take_entries(limit);
        EXPECT_EQ(rig.model().entries_left(), 0u);

        /* Neighbours can be merged, so the request must succeed. */
        for (uint64_t i = 0; i < limit; i++) {
            const int ret = rig.populate(kTiB + i * 2 * kPage, kPage);

            ASSERT_TRUE(!ret || !rig.has_neighbours()) << i;
            if (ret) {
                EXPECT_EQ(ret, -ENOSPC);
                EXPECT_GT(i, 5u);
                break;
            }
        }
        rig.check(true);

        /* All entries are free again, so extents are small. */
        rig.release_entries(limit);
        EXPECT_EQ(rig.populate(2 * kTiB, kPage), 0);
        rig.check(true);
    }
}

TEST(DmaLayoutBudget, OtherUsersTakeEntriesBeforeASplit)
{
    Rig rig(IommuKind::kType1v2, 100);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    rig.take_entries(100);
    EXPECT_EQ(rig.discard(100 * kPage, kPage), 0);
    EXPECT_GT(rig.stats().missing_size, 0u);
    EXPECT_GT(rig.stats().mapped_size, 0u);
    rig.release_entries(100);
    EXPECT_EQ(rig.discard(kGiB, kPage), 0);
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_GT(rig.count_events(DMA_LAYOUT_RECOVERED), 0u);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_RECOVERED),
              rig.count_events(DMA_LAYOUT_MISSING));
}

/* Missing extents get free entries before a new request does. */
TEST(DmaLayoutBudget, MapsMissingExtentsBeforeItRefuses)
{
    Rig rig(IommuKind::kType1v2, 40);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    for (uint64_t i = 1; i <= 27; i++) {
        EXPECT_EQ(rig.populate(i * kGiB + kTiB, kPage), 0);
    }
    rig.take_entries(40);
    EXPECT_EQ(rig.discard(100 * kPage, kPage), 0);
    EXPECT_EQ(rig.size(), 36u);
    EXPECT_EQ(rig.layout().extents().nmapped(), 28u);
    rig.release_entries(40);
    /* The remainders fit only if they are merged. */
    EXPECT_EQ(rig.populate(kTiB, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.size(), 30u);
}

/* The layout limits the number of extents if the kernel does not. */
TEST(DmaLayoutBudget, HasAtMostAMebiOfExtents)
{
    Rig rig(IommuKind::kIommufd);
    uint64_t n = 0;

    EXPECT_EQ(rig.open(), 0);
    rig.check_seldom();
    while (n < 2 * DmaBudget::kMaxExtents &&
           !rig.populate(kTiB + n * 2 * kPage, kPage)) {
        n++;
    }
    EXPECT_EQ(n, DmaBudget::kMaxExtents - DmaBudget::kSplitReserve);
    EXPECT_EQ(rig.stats().entries_limit, DmaBudget::kMaxExtents);
    EXPECT_EQ(rig.stats().entries_reserve, DmaBudget::kSplitReserve);
    EXPECT_EQ(rig.stats().entries_left, 0u);

    EXPECT_EQ(rig.populate(0, kPage), -ENOSPC);
    EXPECT_EQ(rig.populate(kTiB + kPage, kPage), -ENOSPC);
    EXPECT_EQ(rig.discard(kTiB, kGiB), 0);
    EXPECT_GT(rig.stats().entries_left, 0u);
    rig.check(true);
}

/* The limit does not apply if each page is an extent. */
TEST(DmaLayoutBudget, HasAnExtentForEachPage)
{
    Rig rig(IommuKind::kIommufd);

    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_PAGE), 0);
    EXPECT_EQ(rig.stats().entries_limit, DMA_LAYOUT_NO_LIMIT);
    EXPECT_EQ(rig.stats().entries_left, DMA_LAYOUT_NO_LIMIT);
    rig.check_seldom();
    EXPECT_EQ(rig.populate(0, (DmaBudget::kMaxExtents + 1) * kPage), 0);
    EXPECT_EQ(rig.size(), DmaBudget::kMaxExtents + 1);
}

} // namespace
