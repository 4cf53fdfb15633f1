/*
 * What is missing and what is stuck when the kernel fails
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
using shared_dma::rig::Rig;
using shared_dma::rig::kGiB;
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
                /* The first ones are merged for the others. */
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

/* What the kernel did not want once is tried again with each change. */
TEST_P(DmaLayoutOf, WhatIsMissingIsTriedAgain)
{
    for (bool by_discard : {false, true}) {
        Rig fresh(GetParam());

        EXPECT_EQ(fresh.open(), 0);
        EXPECT_EQ(fresh.populate(0, 2 * kMiB), 0);
        EXPECT_EQ(fresh.populate(kGiB, kPage), 0);

        /* In the same call... */
        fresh.model().fail_map(1, ENOMEM);
        EXPECT_EQ(fresh.discard(kMiB - kPage, kPage), 0);
        EXPECT_EQ(fresh.count_events(DMA_LAYOUT_RECOVERED), 1u);

        /* ...and in the next. */
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

/* The kernel does not want a merged extent, or not its parts any more. */
TEST(DmaLayoutFailures, MergingThatFailsKeepsTheParts)
{
    for (uint64_t n = 1; n <= 20; n++) {
        Rig rig(IommuKind::kType1v2, 16);

        EXPECT_EQ(rig.open(), 0);
        for (uint64_t i = 12; i > 0; i--) {
            EXPECT_EQ(rig.populate(i * kPage, kPage), 0);
        }
        EXPECT_EQ(rig.stats().entries_left, 0u);
        /* The first is the merged one's, then come its parts. */
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

/* Neither it nor the first of its parts: then not all is mapped. */
TEST(DmaLayoutFailures, OpenThatLosesWhatItMerges)
{
    Rig rig(IommuKind::kType1v2, 16);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 12; i > 0; i--) {
        EXPECT_EQ(rig.populate(i * kPage, kPage), 0);
    }
    rig.close();
    rig.take_entries(4);
    EXPECT_EQ(rig.discard(12 * kPage, kPage), 0);
    rig.take_entries(1);
    EXPECT_EQ(rig.set_extent_size(kPage), -EBUSY);
    EXPECT_EQ(rig.layout().extents().nmapped(), 11u);

    /* Recorded without asking for entries. */
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    /* The 1st finds no entry, the 2nd is the merged one. */
    rig.refuse_maps(ENOMEM, 2, 2);
    EXPECT_EQ(rig.open(), -ENOSPC);
    EXPECT_EQ(rig.model().mappings().size(), 5u);
}

TEST(DmaLayoutFailures, MergingThatCannotUnmapKeepsTheParts)
{
    Rig rig(IommuKind::kType1v2, 16);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 12; i > 0; i--) {
        EXPECT_EQ(rig.populate(i * kPage, kPage), 0);
    }
    for (uint64_t i = 1; i <= 12; i++) {
        rig.pinned().insert(i * kPage);
    }
    EXPECT_EQ(rig.populate(kGiB, kPage), -ENOSPC);
    EXPECT_EQ(rig.size(), 12u);
    EXPECT_EQ(rig.stats().merges, 0u);
    rig.pinned().clear();
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
}

TEST_P(DmaLayoutOf, WhatCannotBeUnmappedIsStuck)
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

    /* It goes with the first change after the kernel lets it go. */
    rig.pinned().clear();
    EXPECT_EQ(rig.discard(kGiB, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+256 256+256 1792+256");
    EXPECT_EQ(rig.stuck_size(), 0u);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_FREED), 1u);
    EXPECT_EQ(rig.populate(2 * kMiB, kPage), 0);
}

/* All of an extent is stuck with a page of it; what is populated comes back. */
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

TEST_P(DmaLayoutOf, StuckAndThenDiscardedWithAllAroundIt)
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

/* The kernel lets go just when the gate has given up. */
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

/* Two holes in an extent, of which only the second lets the kernel unmap it. */
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

/* A merge would map it once more. */
TEST(DmaLayoutFailures, NothingIsMergedWhileSomethingIsStuck)
{
    Rig rig(IommuKind::kType1v2, 16);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 12; i > 0; i--) {
        EXPECT_EQ(rig.populate(i * kPage, kPage), 0);
    }
    rig.refuse_unmaps(1, 6);
    EXPECT_EQ(rig.discard(3 * kPage, kPage), -EBUSY);
    EXPECT_EQ(rig.populate(kGiB, kPage), -ENOSPC);
    EXPECT_EQ(rig.stats().merges, 0u);
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    EXPECT_EQ(rig.populate(2 * kGiB, kPage), 0);
    EXPECT_GT(rig.stats().merges, 0u);
}

/*
 * The rest of an extent finds no entry while its neighbour, which is discarded
 * with it, cannot be unmapped.
 */
TEST(DmaLayoutFailures, NothingIsMergedBeforeItIsStuck)
{
    Rig rig(IommuKind::kType1v2, 16);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i : {8, 4, 0}) {
        EXPECT_EQ(rig.populate(i * kPage, 4 * kPage), 0);
    }
    rig.take_entries(13);
    /* All in one call, and the neighbour. */
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

/* A gate that neither opens nor lets go. */
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
