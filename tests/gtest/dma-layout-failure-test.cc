/*
 * DmaLayout: missing and stuck extents after failures of the kernel
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>

#include "tests/gtest/dma-layout-test.h"

namespace {

using shared_dma::DmaLayoutOf;
using shared_dma::IommuKind;
using shared_dma::rig::Memory;
using shared_dma::rig::Rig;
using shared_dma::rig::kGiB;
using shared_dma::rig::kLarge;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;
using shared_dma::rig::kTiB;

TEST_P(DmaLayoutOf, PopulatingThatFailsChangesNothing)
{
    for (int error : {ENOMEM, EFAULT, ENOSPC}) {
        for (uint64_t n = 1; n <= 5; n++) {
            Rig fresh(GetParam());

            EXPECT_EQ(fresh.open(), 0);
            EXPECT_EQ(fresh.populate(0, kPage), 0);
            EXPECT_EQ(fresh.populate(16 * kMiB, kPage,
                                     {.access = DMA_LAYOUT_READ_ONLY}),
                      0);
            fresh.model().fail_map(n, error);
            if (error == ENOSPC && n > 2) {
                /* The first extents are merged to free entries. */
                EXPECT_EQ(fresh.populate(kMiB, 8 * kMiB), 0);
                EXPECT_GT(fresh.stats().merges, 0u);
                continue;
            }
            EXPECT_EQ(fresh.populate(kMiB, 8 * kMiB), -error);
            EXPECT_EQ(fresh.extents(), "0+1 4096+1");
            EXPECT_EQ(fresh.populate(kMiB, 8 * kMiB), 0);
        }
    }
}

/* Each change tries to map extents again that are missing. */
TEST_P(DmaLayoutOf, MissingExtentsAreTriedAgain)
{
    for (bool by_discard : {false, true}) {
        Rig fresh(GetParam());

        EXPECT_EQ(fresh.open(), 0);
        EXPECT_EQ(fresh.populate(0, 2 * kMiB), 0);
        EXPECT_EQ(fresh.populate(kGiB, kPage), 0);

        /* The first retry is in the same call... */
        fresh.model().fail_map(1, ENOMEM);
        EXPECT_EQ(fresh.discard(kMiB - kPage, kPage), 0);
        EXPECT_EQ(fresh.count_events(DMA_LAYOUT_RECOVERED), 1u);

        /* ...or in the next one. */
        fresh.refuse_maps(ENOMEM, 1, UINT64_MAX);
        EXPECT_EQ(fresh.discard(kMiB - 3 * kPage, kPage), 0);
        EXPECT_GT(fresh.stats().missing_size, 0u);
        fresh.refuse_maps(0, 0, 0);
        if (by_discard) {
            EXPECT_EQ(fresh.discard(kGiB, kPage), 0);
        } else {
            EXPECT_EQ(fresh.populate(2 * kGiB, kPage), 0);
        }
        EXPECT_EQ(fresh.stats().missing_size, 0u);
    }
}

/* The kernel refuses the merged extent, or refuses to map its parts again. */
TEST(DmaLayoutFailures, MergingThatFailsKeepsTheParts)
{
    for (uint64_t n = 1; n <= 20; n++) {
        Rig rig(IommuKind::kType1v2, 16);

        EXPECT_EQ(rig.open(), 0);
        for (uint64_t i = 12; i > 0; i--) {
            EXPECT_EQ(rig.populate(i * kLarge, kLarge), 0);
        }
        EXPECT_EQ(rig.stats().entries_left, 0u);
        /* The first call maps the merged extent, the others map its parts. */
        rig.model().fail_map(n, ENOMEM);

        const int ret = rig.populate(kGiB, kPage);

        EXPECT_TRUE(ret == 0 || ret == -ENOSPC || ret == -ENOMEM);
        EXPECT_EQ(rig.count_events(DMA_LAYOUT_MISSING), 0u);
        rig.model().fail_map(0, 0);
        EXPECT_EQ(rig.discard(kTiB, kPage), 0);
        EXPECT_EQ(rig.populate(kTiB, kPage), 0);
        EXPECT_EQ(rig.stats().missing_size, 0u);
    }
}

/*
 * A merge fails, and makes the neighbour of an extent missing that the kernel
 * then refuses.
 */
TEST(DmaLayoutFailures, OpenThatRefusesTheNeighbourOfAFailedMerge)
{
    Rig rig(IommuKind::kType1v2, 16);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 4 * kMiB), 0);
    EXPECT_EQ(rig.populate(kGiB, 8 * kMiB), 0);
    EXPECT_EQ(rig.size(), 6u);
    rig.close();
    EXPECT_EQ(rig.discard(kGiB, kPage), 0);
    rig.model().add_memory(Memory().offset, kGiB + 3 * kPage, true);
    rig.model().add_memory(Memory().offset + kGiB + 4 * kPage, kGiB, true);
    /*
     * The 1st call finds no free entry, the 2nd maps the merged extent at 0,
     * the 3rd and 4th the merged extent behind 1 GiB and the first of its
     * parts.  Then the kernel refuses the extent of the 1st call.
     */
    rig.model().fail_map(1, ENOSPC);
    rig.refuse_maps(ENOMEM, 3, 2);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_MERGE), 1u);
    EXPECT_EQ(rig.stats().missing_size, kPage);
}

/* The merged extent and its first part fail, so the gate stays closed. */
TEST(DmaLayoutFailures, OpenThatFailsWhileItMerges)
{
    Rig rig(IommuKind::kType1v2, 16);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 12; i > 0; i--) {
        EXPECT_EQ(rig.populate(i * kLarge, kLarge), 0);
    }
    rig.close();
    rig.take_entries(4);
    EXPECT_EQ(rig.discard(12 * kLarge, kLarge), 0);
    rig.take_entries(1);
    EXPECT_EQ(rig.set_extent_size(kPage), -EBUSY);
    EXPECT_EQ(rig.layout().extents().nmapped(), 11u);

    /* Recorded without asking for entries. */
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    /* The 1st call finds no free entry, the 2nd maps the merged extent. */
    rig.refuse_maps(ENOMEM, 2, 2);
    EXPECT_EQ(rig.open(), -ENOSPC);
    EXPECT_EQ(rig.model().mappings().size(), 5u);
}

TEST(DmaLayoutFailures, MergingThatCannotUnmapKeepsTheParts)
{
    Rig rig(IommuKind::kType1v2, 16);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 12; i > 0; i--) {
        EXPECT_EQ(rig.populate(i * kLarge, kLarge), 0);
    }
    for (uint64_t i = 1; i <= 12; i++) {
        rig.pinned().insert(i * kLarge);
    }
    EXPECT_EQ(rig.populate(kGiB, kPage), -ENOSPC);
    EXPECT_EQ(rig.size(), 12u);
    EXPECT_EQ(rig.stats().merges, 0u);
    rig.pinned().clear();
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
}

TEST_P(DmaLayoutOf, ExtentsThatCannotBeUnmappedAreStuck)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 8 * kMiB), 0);
    rig.pinned().insert(3 * kMiB);
    EXPECT_EQ(rig.discard(kMiB, 6 * kMiB), -EBUSY);
    EXPECT_EQ(rig.extents(), "0+256 512+512 1792+256");
    EXPECT_EQ(rig.stuck_size(), 2 * kMiB);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_STUCK), 1u);
    EXPECT_EQ(rig.populate(2 * kMiB, kPage), -EBUSY);
    EXPECT_EQ(rig.populate(kMiB, kMiB), 0);

    /* It is unmapped by the first change after the kernel unpins it. */
    rig.pinned().clear();
    EXPECT_EQ(rig.discard(kGiB, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+256 256+256 1792+256");
    EXPECT_EQ(rig.stuck_size(), 0u);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_FREED), 1u);
    EXPECT_EQ(rig.populate(2 * kMiB, kPage), 0);
}

/* One pinned page makes its whole extent stuck; the rest is mapped again. */
TEST_P(DmaLayoutOf, StuckInTheMiddle)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    rig.pinned().insert(0);
    EXPECT_EQ(rig.discard(kMiB, kPage), -EBUSY);
    EXPECT_EQ(rig.discard(kMiB + 2 * kPage, kPage), -EBUSY);
    EXPECT_EQ(rig.discard(kMiB, 2 * kPage), -EBUSY);
    EXPECT_EQ(rig.extents(), "0+512");
    EXPECT_EQ(rig.stuck_size(), 3 * kPage);
    EXPECT_EQ(rig.populate(kMiB, kPage), -EBUSY);
    EXPECT_EQ(rig.populate(kMiB + 3 * kPage, kPage), -EEXIST);

    rig.pinned().clear();
    EXPECT_EQ(rig.populate(kMiB, kPage), 0);
    EXPECT_EQ(rig.stuck_size(), 0u);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.populated().size(), 2 * kMiB - 2 * kPage);
}

TEST_P(DmaLayoutOf, GateStaysClosedWhileSomethingIsStuck)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    rig.pinned().insert(0);
    EXPECT_EQ(rig.discard(kMiB, kPage), -EBUSY);
    rig.close();
    EXPECT_EQ(rig.open(), -EBUSY);
    rig.pinned().clear();
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stuck_size(), 0u);
}

TEST_P(DmaLayoutOf, StuckAndThenDiscardedWithItsSurroundings)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    rig.pinned().insert(0);
    EXPECT_EQ(rig.discard(kMiB, kPage), -EBUSY);
    rig.pinned().clear();
    EXPECT_EQ(rig.discard(0, 2 * kMiB), 0);
    EXPECT_EQ(rig.size(), 0u);
    EXPECT_EQ(rig.stuck_size(), 0u);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_FREED), 1u);
}

/* The kernel allows the unmapping after the gate has failed to open. */
TEST_P(DmaLayoutOf, FreedByAGateThatDoesNotOpen)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    rig.pinned().insert(0);
    EXPECT_EQ(rig.discard(kMiB, kPage), -EBUSY);
    rig.close();
    rig.pinned().clear();
    rig.refuse_unmaps(1, 2);
    EXPECT_EQ(rig.open(), -EBUSY);
    EXPECT_EQ(rig.stuck_size(), 0u);
    EXPECT_EQ(rig.layout().extents().nmapped(), 0u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stats().populated_size, 2 * kMiB - kPage);
}

/* The first of two holes in an extent cannot be unmapped, the second can. */
TEST_P(DmaLayoutOf, FreedWithAnother)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    rig.pinned().insert(0);
    EXPECT_EQ(rig.discard(kMiB, kPage), -EBUSY);
    EXPECT_EQ(rig.discard(kMiB + 2 * kPage, kPage), -EBUSY);
    rig.pinned().clear();
    rig.refuse_unmaps(1, 2);
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    EXPECT_EQ(rig.stuck_size(), 0u);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_FREED), 2u);
}

/* A merge would map the stuck memory again. */
TEST(DmaLayoutFailures, NothingIsMergedWhileSomethingIsStuck)
{
    Rig rig(IommuKind::kType1v2, 16);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 12; i > 0; i--) {
        EXPECT_EQ(rig.populate(i * kLarge, kLarge), 0);
    }
    rig.refuse_unmaps(1, 6);
    EXPECT_EQ(rig.discard(3 * kLarge, kLarge), -EBUSY);
    EXPECT_EQ(rig.populate(kGiB, kPage), -ENOSPC);
    EXPECT_EQ(rig.stats().merges, 0u);
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    EXPECT_EQ(rig.populate(2 * kGiB, kPage), 0);
    EXPECT_GT(rig.stats().merges, 0u);
}

/*
 * One discard splits an extent and removes its neighbour.  There is no entry
 * for the remainder of the extent, and the neighbour cannot be unmapped.
 */
TEST(DmaLayoutFailures, NothingIsMergedBeforeItIsStuck)
{
    Rig rig(IommuKind::kType1v2, 16);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i : {8, 4, 0}) {
        EXPECT_EQ(rig.populate(i * kPage, 4 * kPage), 0);
    }
    rig.take_entries(13);
    /* Refuse the single call for the range, and the one for the neighbour. */
    rig.refuse_unmaps(1, 2);
    EXPECT_EQ(rig.discard(4 * kPage, 5 * kPage), 0);
    EXPECT_EQ(rig.stats().merges, 0u);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_STUCK), 1u);
    EXPECT_EQ(rig.extents(), "0+4 9+1 10+2");
    EXPECT_EQ(rig.stats().missing_size, 0u);
}

TEST_P(DmaLayoutOf, UnmappingThatFailsOnceIsTriedExtentByExtent)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 8 * kMiB), 0);
    rig.model().fail_unmap(1, EIO);
    EXPECT_EQ(rig.discard(0, 8 * kMiB), 0);
    EXPECT_EQ(rig.nunmaps(), 5u);
    EXPECT_EQ(rig.stats().failures, 1u);
}

/* Opening fails, and so does unmapping the extents that it has mapped. */
TEST_P(DmaLayoutOf, OpenThatFailsAndCannotUnmap)
{
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_EQ(rig.populate(2 * kPage, kPage), 0);
    EXPECT_EQ(rig.populate(4 * kPage, kPage), 0);
    rig.pinned().insert(2 * kPage);
    rig.model().fail_map(3, ENOMEM);
    EXPECT_EQ(rig.open(), -ENOMEM);
    EXPECT_EQ(rig.layout().extents().nmapped(), 1u);
    rig.pinned().clear();
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.layout().extents().nmapped(), 3u);
}

} // namespace
