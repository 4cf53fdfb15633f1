/*
 * DmaLayout: explicit sizes of extents
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
using shared_dma::rig::kKiB;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;
using shared_dma::rig::kTiB;

TEST_P(DmaLayoutOf, ExtentsOfOnePage)
{
    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_PAGE), 0);
    EXPECT_EQ(rig.populate(0, 100 * kPage), 0);
    EXPECT_EQ(rig.populate(100 * kPage, 10 * kPage), 0);
    EXPECT_EQ(rig.size(), 110u);
    EXPECT_EQ(rig.calls(), 0u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(200 * kPage, 7 * kPage), 0);
    EXPECT_EQ(rig.populate(kGiB, 4 * kPage), 0);
    EXPECT_EQ(rig.size(), 121u);
    EXPECT_EQ(rig.discard(50 * kPage, 25 * kPage), 0);
    EXPECT_EQ(rig.discard(kGiB + kPage, 2 * kPage), 0);
    EXPECT_EQ(rig.size(), 94u);
    EXPECT_EQ(rig.nunmaps(), 2u);
    EXPECT_EQ(rig.nmaps(), 121u);
    EXPECT_EQ(rig.stats().splits, 0u);
}

TEST(DmaLayoutBudget, ExtentsOfOnePageAreNeverMerged)
{
    Rig rig(IommuKind::kType1v2, 100);

    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_PAGE), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 90 * kPage), 0);
    EXPECT_EQ(rig.populate(90 * kPage, 11 * kPage), -ENOSPC);
    EXPECT_EQ(rig.nmaps(), 90u);
    EXPECT_EQ(rig.stats().entries_left, 10u);
    EXPECT_EQ(rig.populate(90 * kPage, 10 * kPage), 0);
    EXPECT_EQ(rig.populate(100 * kPage, kPage), -ENOSPC);
    EXPECT_EQ(rig.size(), 100u);
    EXPECT_EQ(rig.stats().merges, 0u);
    EXPECT_EQ(rig.stats().block_size, kPage);
}

TEST_P(DmaLayoutOf, ExplicitSizes)
{
    for (uint64_t size : {kPage, 64 * kKiB, 2 * kMiB, kGiB}) {
        Rig fresh(GetParam());

        EXPECT_EQ(fresh.set_extent_size(size), 0);
        EXPECT_EQ(fresh.stats().block_size, size);
        EXPECT_EQ(fresh.populate(4 * size, 3 * size), 0);
        EXPECT_EQ(fresh.size(), 3u);
        EXPECT_EQ(fresh.open(), 0);
        EXPECT_EQ(fresh.populate(9 * size, 3 * size), 0);
        EXPECT_EQ(fresh.size(), 6u);
        EXPECT_EQ(fresh.stats().largest_extent, size);
        EXPECT_EQ(fresh.stats().smallest_extent, size);
    }
}

/* Growing under pressure stops at the largest size. */
TEST(DmaLayoutBudget, HugeSizes)
{
    for (unsigned shift = 40; shift < 64; shift++) {
        Rig rig(IommuKind::kType1v2, 8);

        EXPECT_EQ(rig.set_extent_size(UINT64_C(1) << shift), 0);
        EXPECT_EQ(rig.open(), 0);
        for (uint64_t i = 0; i < 6; i++) {
            EXPECT_EQ(rig.populate(i * 2 * kPage, kPage), 0);
        }
        EXPECT_GE(rig.stats().block_size, UINT64_C(1) << shift);
        EXPECT_EQ(rig.populate(kGiB, kPage), -ENOSPC);
    }
}

TEST_P(DmaLayoutOf, NewSizeCutsRecordedExtents)
{
    EXPECT_EQ(rig.populate(kGiB - 2 * kMiB, 8 * kMiB), 0);
    EXPECT_EQ(rig.size(), 4u);
    EXPECT_EQ(rig.set_extent_size(kMiB), 0);
    EXPECT_EQ(rig.size(), 8u);
    EXPECT_EQ(rig.set_extent_size(64 * kKiB), 0);
    EXPECT_EQ(rig.size(), 128u);
    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_PAGE), 0);
    EXPECT_EQ(rig.size(), 2048u);
    EXPECT_EQ(rig.calls(), 0u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.set_extent_size(kMiB), -EBUSY);
    rig.close();
    EXPECT_EQ(rig.set_extent_size(kMiB), -EBUSY);
    EXPECT_EQ(rig.discard(0, kTiB), 0);
    EXPECT_EQ(rig.set_extent_size(kMiB), -EBUSY);
}

TEST(DmaLayoutBudget, NewSizeNeedsTooManyEntries)
{
    Rig rig(IommuKind::kType1v2, 100);

    for (uint64_t i = 0; i < 50; i++) {
        EXPECT_EQ(rig.populate(i * 4 * kPage, 2 * kPage), 0);
    }
    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_PAGE), 0);
    EXPECT_EQ(rig.size(), 100u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(kGiB, kPage), -ENOSPC);
}

TEST(DmaLayoutBudget, NewSizeThatFailsChangesNothing)
{
    for (uint64_t size : {DMA_LAYOUT_PAGE, kPage, 64 * kKiB}) {
        Rig rig(IommuKind::kType1v2, 100);
        Memory odd = {.access = DMA_LAYOUT_READ_ONLY};

        /* None of these extents can be merged. */
        for (uint64_t i = 0; i < 101; i++) {
            EXPECT_EQ(rig.populate(i * kMiB, kPage, i % 2 ? odd : Memory()), 0);
        }
        EXPECT_EQ(rig.set_extent_size(size), -ENOSPC);
        EXPECT_EQ(rig.size(), 101u);
        EXPECT_EQ(rig.calls(), 0u);
        EXPECT_EQ(rig.open(), -ENOSPC);
        EXPECT_EQ(rig.discard(0, 40 * kMiB), 0);
        EXPECT_EQ(rig.open(), 0);
        /* The old size still applies. */
        EXPECT_EQ(rig.populate(kTiB, 2 * kMiB), 0);
        EXPECT_EQ(rig.layout().extents().at(kTiB).size, 2 * kMiB);
        EXPECT_EQ(rig.stats().entries_left, 13u);
    }
}

/* The merges of a failed change are undone: pages stay separate. */
TEST(DmaLayoutBudget, NewSizeThatFailsMergesNothing)
{
    Rig rig(IommuKind::kType1v2, 100);

    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_PAGE), 0);
    for (uint64_t i = 0; i < 90; i++) {
        EXPECT_EQ(rig.populate(i * kMiB, i < 10 ? 2 * kPage : kPage), 0);
    }
    EXPECT_EQ(rig.size(), 100u);
    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_AUTO), -ENOSPC);
    EXPECT_EQ(rig.size(), 100u);
    EXPECT_EQ(rig.open(), 0);
}

/* Extents become larger than the new size if there are too many. */
TEST(DmaLayoutBudget, NewSizeMergesRecordedExtents)
{
    Rig rig(IommuKind::kType1v2, 100);

    for (uint64_t i = 200; i > 0; i--) {
        EXPECT_EQ(rig.populate(i * kPage, kPage), 0);
    }
    EXPECT_EQ(rig.size(), 200u);
    EXPECT_EQ(rig.set_extent_size(64 * kKiB), 0);
    EXPECT_LE(rig.size(), 75u);
    EXPECT_EQ(rig.calls(), 0u);
    EXPECT_EQ(rig.open(), 0);
}

} // namespace
