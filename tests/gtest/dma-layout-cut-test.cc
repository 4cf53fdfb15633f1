/*
 * DmaLayout: discarding by cuts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>

#include "tests/gtest/dma-layout-test.h"

namespace {

using shared_dma::IommuKind;
using shared_dma::rig::Rig;
using shared_dma::rig::kGiB;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;
using shared_dma::rig::kTiB;

constexpr uint64_t kTop = UINT64_MAX - (kPage - 1);

class DmaLayoutCuts : public testing::Test {
protected:
    DmaLayoutCuts() : rig(IommuKind::kIommufdCut) {}

    Rig rig;
};

TEST_F(DmaLayoutCuts, ARequestIsOneMapping)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(4 * kGiB + kMiB, kTiB), 0);
    EXPECT_EQ(rig.populate(2 * kTiB, kPage), 0);
    EXPECT_EQ(rig.populate(2 * kTiB + kPage, kPage), 0);
    EXPECT_EQ(rig.size(), 3u);
    EXPECT_EQ(rig.nmaps(), 3u);
    EXPECT_EQ(rig.stats().entries_limit, DMA_LAYOUT_NO_LIMIT);
    EXPECT_EQ(rig.stats().entries_left, DMA_LAYOUT_NO_LIMIT);
}

/* Whatever part is discarded, one call does it, and nothing is mapped again. */
TEST_F(DmaLayoutCuts, ADiscardIsOneCut)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 16 * kPage), 0);
    EXPECT_EQ(rig.populate(16 * kPage, 16 * kPage), 0);
    EXPECT_EQ(rig.discard(4 * kPage, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+4 5+11 16+16");
    EXPECT_EQ(rig.discard(0, kPage), 0);
    EXPECT_EQ(rig.extents(), "1+3 5+11 16+16");
    EXPECT_EQ(rig.discard(31 * kPage, kPage), 0);
    EXPECT_EQ(rig.extents(), "1+3 5+11 16+15");
    EXPECT_EQ(rig.discard(2 * kPage, 20 * kPage), 0);
    EXPECT_EQ(rig.extents(), "1+1 22+9");
    EXPECT_EQ(rig.discard(0, kGiB), 0);
    EXPECT_EQ(rig.extents(), "");
    EXPECT_EQ(rig.nmaps(), 2u);
    EXPECT_EQ(rig.nunmaps(), 5u);
    EXPECT_EQ(rig.stats().cuts, 5u);
    EXPECT_EQ(rig.stats().splits, 0u);
}

TEST_F(DmaLayoutCuts, NothingIsCutWhereNothingIsMapped)
{
    EXPECT_EQ(rig.populate(0, 16 * kPage), 0);
    EXPECT_EQ(rig.discard(4 * kPage, kPage), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.discard(4 * kPage, kPage), 0);
    EXPECT_EQ(rig.discard(kGiB, kGiB), 0);
    EXPECT_EQ(rig.extents(), "0+4 5+11");
    EXPECT_EQ(rig.nunmaps(), 0u);
}

/* Memory is mapped run by run when the gate opens, regardless of requests. */
TEST_F(DmaLayoutCuts, RecordedRequestsAreJoined)
{
    for (uint64_t page : {7, 1, 0, 2, 6, 4}) {
        EXPECT_EQ(rig.populate(page * kPage, kPage), 0);
    }
    EXPECT_EQ(rig.populate(kGiB, kGiB, {.access = DMA_LAYOUT_READ_ONLY}), 0);
    EXPECT_EQ(rig.populate(2 * kGiB, kGiB), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.size(), 5u);
    EXPECT_EQ(rig.nmaps(), 5u);
    EXPECT_EQ(rig.stats().smallest_extent, kPage);

    /* A closed gate changes nothing about cuts. */
    rig.layout().close();
    EXPECT_EQ(rig.discard(kPage, kPage), 0);
    EXPECT_EQ(rig.stats().mapped_extents, 6u);
    EXPECT_EQ(rig.stats().cuts, 1u);
}

TEST_F(DmaLayoutCuts, TheLastPageCanBeDiscarded)
{
    EXPECT_EQ(rig.populate(kTop - kPage, 2 * kPage), 0);
    EXPECT_EQ(rig.discard(kTop, kPage), 0);
    EXPECT_EQ(rig.stats().populated_size, kPage);
    EXPECT_EQ(rig.discard(kTop - kPage, 2 * kPage), 0);
    EXPECT_EQ(rig.size(), 0u);
}

TEST_F(DmaLayoutCuts, PartsOfMissingMemoryAreDiscarded)
{
    EXPECT_EQ(rig.populate(0, 16 * kPage), 0);
    rig.refuse_maps(EFAULT, 1, UINT64_MAX);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stats().missing_size, 16 * kPage);
    EXPECT_EQ(rig.discard(4 * kPage, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, 15 * kPage);
    EXPECT_EQ(rig.nunmaps(), 0u);
    rig.refuse_maps(0, 0, 0);
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, 0u);
}

/*
 * If a step of a cut fails, the whole mapping is unmapped and the rest is
 * mapped again, which is better than private memory that is mapped.
 */
TEST_F(DmaLayoutCuts, ACutThatFailsBecomesASplit)
{
    for (uint64_t step = 1; step <= 4; step++) {
        Rig fresh(IommuKind::kIommufdCut);

        EXPECT_EQ(fresh.open(), 0);
        EXPECT_EQ(fresh.populate(0, 16 * kPage), 0);
        fresh.model().fail_cut(step, ENOMEM);
        EXPECT_EQ(fresh.discard(4 * kPage, kPage), 0);
        EXPECT_EQ(fresh.extents(), "0+4 5+11");
        EXPECT_EQ(fresh.stats().missing_size, 0u);
        EXPECT_EQ(fresh.stats().splits, step <= 3 ? 1u : 0u);
        EXPECT_EQ(fresh.stats().cuts, step <= 3 ? 0u : 1u);
        EXPECT_EQ(fresh.model().mappings().size(), 2u);
    }
}

TEST_F(DmaLayoutCuts, WhatCannotBeUnmappedIsStuckUntilItIsCut)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 16 * kPage), 0);
    rig.pinned().insert(4 * kPage);
    EXPECT_EQ(rig.discard(4 * kPage, kPage), -EBUSY);
    EXPECT_EQ(rig.stats().stuck_size, kPage);
    EXPECT_EQ(rig.populate(4 * kPage, kPage), -EBUSY);
    EXPECT_EQ(rig.discard(8 * kPage, kPage), 0);
    rig.pinned().clear();
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    EXPECT_EQ(rig.stats().stuck_size, 0u);
    EXPECT_EQ(rig.populate(4 * kPage, kPage), 0);
    EXPECT_EQ(rig.stats().splits, 0u);
}

TEST_F(DmaLayoutCuts, ExtentsHaveNoOtherSize)
{
    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_AUTO), 0);
    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_PAGE), -EBUSY);
    EXPECT_EQ(rig.set_extent_size(2 * kMiB), -EBUSY);
}

/* A guest that opens the gate again and again causes few failing calls. */
TEST_F(DmaLayoutCuts, RefusedMemoryIsNotJoined)
{
    EXPECT_EQ(rig.populate(0, kPage), 0);
    rig.refuse_maps(EFAULT, 1, 1);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    rig.refuse_maps(EFAULT, 1, UINT64_MAX);
    EXPECT_EQ(rig.populate(kPage, kPage), -EFAULT);
    rig.layout().close();
    EXPECT_EQ(rig.populate(kPage, kPage), 0);
    EXPECT_EQ(rig.populate(2 * kPage, kPage), 0);
    EXPECT_EQ(rig.open(), 0);

    const uint64_t calls = rig.calls();

    for (int i = 0; i < 16; i++) {
        rig.layout().close();
        EXPECT_EQ(rig.open(), 0);
    }
    EXPECT_LE(rig.calls() - calls, 8u);
}

} // namespace
