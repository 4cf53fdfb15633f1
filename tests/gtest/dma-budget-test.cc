/*
 * DmaBudget: the number of extents and the size of new ones
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "hw/vfio/dma-budget.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace {

using shared_dma::DmaBudget;
using shared_dma::DmaExtentMap;

constexpr uint64_t kKiB = UINT64_C(1) << 10;
constexpr uint64_t kMiB = UINT64_C(1) << 20;
constexpr uint64_t kGiB = UINT64_C(1) << 30;

TEST(DmaBudgetTest, ReservesEntriesForSplits)
{
    DmaBudget budget;

    budget.set_kernel_limit(65535);
    EXPECT_EQ(budget.hard_limit(), 65535u);
    EXPECT_EQ(budget.limit(), 65535u - 64);
    EXPECT_EQ(budget.room(0), 65535u - 64);
    EXPECT_EQ(budget.room(65535 - 64), 0u);
    EXPECT_EQ(budget.room(65535), 0u);

    /* A quarter of the entries if there are few. */
    budget.set_kernel_limit(8);
    EXPECT_EQ(budget.limit(), 6u);
    budget.set_kernel_limit(1);
    EXPECT_EQ(budget.limit(), 1u);
    budget.set_kernel_limit(0);
    EXPECT_EQ(budget.room(0), 0u);
}

TEST(DmaBudgetTest, LimitsExtentsWithoutAKernelLimit)
{
    DmaBudget budget;

    EXPECT_EQ(budget.hard_limit(), DmaBudget::kMaxExtents);
    budget.set_kernel_limit(100);
    budget.set_kernel_limit(DMA_LAYOUT_NO_LIMIT);
    EXPECT_EQ(budget.hard_limit(), DmaBudget::kMaxExtents);
}

TEST(DmaBudgetTest, PagesHaveNoReserveAndOnlyTheKernelLimit)
{
    DmaBudget budget;

    budget.set_extent_size(DMA_LAYOUT_PAGE);
    EXPECT_TRUE(budget.is_fixed());
    budget.set_kernel_limit(100);
    EXPECT_EQ(budget.limit(), 100u);
    EXPECT_EQ(budget.hard_limit(), 100u);
    EXPECT_EQ(budget.pressure(100), 0u);
    EXPECT_EQ(budget.block_size(100), DmaExtentMap::kPage);
    EXPECT_EQ(budget.block_size(0), DmaExtentMap::kPage);
    budget.set_kernel_limit(DMA_LAYOUT_NO_LIMIT);
    EXPECT_EQ(budget.limit(), DMA_LAYOUT_NO_LIMIT);
}

/* Pressure rises by one level each time the free entries halve. */
TEST(DmaBudgetTest, PressureRises)
{
    DmaBudget budget;

    budget.set_kernel_limit(1024 + 64);
    ASSERT_EQ(budget.limit(), 1024u);
    EXPECT_EQ(budget.pressure(0), 0u);
    EXPECT_EQ(budget.pressure(512), 0u);
    EXPECT_EQ(budget.pressure(513), 1u);
    EXPECT_EQ(budget.pressure(768), 1u);
    EXPECT_EQ(budget.pressure(769), 2u);
    EXPECT_EQ(budget.pressure(897), 3u);
    EXPECT_EQ(budget.pressure(961), 4u);
    EXPECT_EQ(budget.pressure(993), 5u);
    EXPECT_EQ(budget.pressure(1024), 5u);
    EXPECT_EQ(budget.pressure(5000), 5u);
}

TEST(DmaBudgetTest, BlocksGrowWithThePressure)
{
    DmaBudget budget;

    budget.set_kernel_limit(1024 + 64);
    EXPECT_EQ(budget.block_size(0), 2 * kMiB);
    EXPECT_EQ(budget.block_size(513), 32 * kMiB);
    EXPECT_EQ(budget.block_size(769), 512 * kMiB);
    EXPECT_EQ(budget.block_size(897), kGiB);
    EXPECT_EQ(budget.block_size(1024), kGiB);
}

TEST(DmaBudgetTest, ExplicitSizesGrowAsWell)
{
    DmaBudget budget;

    budget.set_kernel_limit(1024 + 64);
    budget.set_extent_size(64 * kKiB);
    EXPECT_EQ(budget.extent_size(), 64 * kKiB);
    EXPECT_FALSE(budget.is_fixed());
    EXPECT_EQ(budget.block_size(0), 64 * kKiB);
    EXPECT_EQ(budget.block_size(513), kMiB);
    /* A size above that of the largest block does not change. */
    budget.set_extent_size(UINT64_C(1) << 63);
    EXPECT_EQ(budget.block_size(0), UINT64_C(1) << 63);
    EXPECT_EQ(budget.block_size(1024), UINT64_C(1) << 63);
}

} // namespace
