/*
 * The gate of a DmaLayout
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "tests/gtest/dma-layout-test.h"

namespace {

using shared_dma::DmaLayoutOf;
using shared_dma::rig::Rig;
using shared_dma::rig::kGiB;
using shared_dma::rig::kLarge;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;

TEST_P(DmaLayoutOf, ClosedGateOnlyRecords)
{
    EXPECT_EQ(rig.populate(0, 6 * kMiB), 0);
    EXPECT_EQ(rig.extents(), "0+512 512+512 1024+512");
    EXPECT_EQ(rig.discard(kMiB, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+256 257+255 512+512 1024+512");
    EXPECT_EQ(rig.populate(kMiB, kPage), 0);
    EXPECT_EQ(rig.discard(0, 6 * kMiB), 0);
    EXPECT_EQ(rig.calls(), 0u);
    EXPECT_TRUE(rig.events().empty());
}

TEST_P(DmaLayoutOf, ClosedGateExtendsUpToABlock)
{
    const uint64_t start = 2 * kMiB - 3 * kPage;

    for (uint64_t i = 0; i < 4; i++) {
        EXPECT_EQ(rig.populate(start + i * kLarge, kLarge), 0);
    }
    EXPECT_EQ(rig.extents(), "509+3 512+509");
    /* One request across a block boundary. */
    EXPECT_EQ(rig.populate(start + 4 * kLarge, 2 * kMiB), 0);
    EXPECT_EQ(rig.extents(), "509+3 512+512 1024+509");
    EXPECT_EQ(rig.calls(), 0u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.nmaps(), 3u);
}

/* An extent grows up to the next one, not into it. */
TEST_P(DmaLayoutOf, ClosedGateExtendsUpToTheNext)
{
    for (uint64_t first : {UINT64_C(0), kMiB, kGiB - 2 * kLarge}) {
        for (uint64_t gap = 0; gap < 4; gap++) {
            Rig fresh(GetParam());
            const uint64_t next = first + (1 + gap) * kLarge;

            EXPECT_EQ(fresh.populate(next, kLarge), 0);
            EXPECT_EQ(fresh.populate(first, kLarge), 0);
            for (uint64_t i = 1; i <= gap; i++) {
                EXPECT_EQ(fresh.populate(first + i * kLarge, kLarge), 0);
            }
            EXPECT_EQ(fresh.populate(next, kLarge), -EEXIST);
            EXPECT_EQ(fresh.populate(next + kLarge, kLarge), 0);
            EXPECT_EQ(fresh.open(), 0);
        }
    }
}

/* Each request is mapped as it was made, before the gate opens and after. */
TEST_P(DmaLayoutOf, SixtyFourMebibytes)
{
    constexpr uint64_t kSize = 64 * kMiB;

    rig.check_seldom();
    for (const bool open : {false, true}) {
        if (open) {
            EXPECT_EQ(rig.open(), 0);
        }
        for (const uint64_t request : {kPage, kLarge, 2 * kMiB, kSize}) {
            const uint64_t block = std::min(request, 2 * kMiB);
            const uint64_t nunmaps = rig.nunmaps();

            for (uint64_t iova = 0; iova < kSize; iova += request) {
                ASSERT_EQ(rig.populate(iova, request), 0);
            }
            /* While it is closed, streams fill the blocks. */
            EXPECT_EQ(rig.size(),
                      kSize / (open || request == kPage ? block : 2 * kMiB));
            EXPECT_EQ(rig.discard(0, kSize), 0);
            EXPECT_EQ(rig.nunmaps(), nunmaps + open);
        }
        rig.check(true);
    }
}

TEST_P(DmaLayoutOf, OpenMapsEverything)
{
    for (uint64_t i = 0; i < 10; i++) {
        EXPECT_EQ(rig.populate(i * 4 * kMiB, 2 * kMiB), 0);
    }
    EXPECT_EQ(rig.layout().extents().nmapped(), 0u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.layout().extents().nmapped(), 10u);
    EXPECT_EQ(rig.nmaps(), 10u);
}

TEST_P(DmaLayoutOf, OpenThatFailsMapsNothing)
{
    for (int error : {ENOMEM, ENOSPC}) {
        for (uint64_t n = 1; n <= 10; n++) {
            Rig fresh(GetParam());

            for (uint64_t i = 0; i < 10; i++) {
                EXPECT_EQ(fresh.populate(i * 4 * kMiB, 2 * kMiB), 0);
            }
            fresh.model().fail_map(n, error);
            EXPECT_EQ(fresh.open(), -error);
            EXPECT_EQ(fresh.nmaps(), n);
            EXPECT_EQ(fresh.model().mappings().size(), 0u);
            EXPECT_EQ(fresh.stats().missing_size, 0u);
            /* The next attempt succeeds. */
            EXPECT_EQ(fresh.open(), 0);
            EXPECT_EQ(fresh.model().mappings().size(), 10u);
        }
    }
}

/* Reopening that fails also unmaps the extents of the first opening. */
TEST_P(DmaLayoutOf, ReopeningThatFailsMapsNothing)
{
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    EXPECT_EQ(rig.open(), 0);
    rig.close();
    EXPECT_EQ(rig.populate(8 * kMiB, 2 * kMiB), 0);
    rig.model().fail_map(1, ENOMEM);
    EXPECT_EQ(rig.open(), -ENOMEM);
    EXPECT_EQ(rig.model().mappings().size(), 0u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.model().mappings().size(), 2u);
}

TEST_P(DmaLayoutOf, CloseKeepsMappings)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 8 * kMiB), 0);
    rig.close();
    EXPECT_EQ(rig.layout().extents().nmapped(), 4u);
    EXPECT_EQ(rig.populate(16 * kMiB, kPage), 0);
    EXPECT_EQ(rig.layout().extents().nmapped(), 4u);

    /* The remainder of an extent is not mapped after a discard. */
    EXPECT_EQ(rig.discard(2 * kMiB + 7 * kPage, kPage), 0);
    EXPECT_EQ(rig.layout().extents().nmapped(), 3u);
    EXPECT_EQ(rig.nmaps(), 4u);
    EXPECT_EQ(rig.nunmaps(), 1u);
    EXPECT_EQ(rig.extents(), "0+512 512+7 520+504 1024+512 1536+512 4096+1");
    EXPECT_EQ(rig.stats().splits, 0u);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.nmaps(), 7u);
    EXPECT_EQ(rig.layout().extents().nmapped(), 6u);
}

} // namespace
