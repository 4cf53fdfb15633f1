/*
 * The C interface of a DmaLayout
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>

#include "tests/gtest/dma-layout-test.h"

namespace {

using shared_dma::IommuKind;
using shared_dma::IommuModel;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;

int map_model(void *opaque, uint64_t iova, uint64_t size, uint64_t vaddr,
              DmaLayoutAccess access)
{
    return static_cast<IommuModel *>(opaque)->map(
        iova, size, vaddr, access == DMA_LAYOUT_READ_ONLY);
}

int unmap_model(void *opaque, uint64_t iova, uint64_t size)
{
    return static_cast<IommuModel *>(opaque)->unmap(iova, size);
}

int cut_model(void *opaque, uint64_t iova, uint64_t size)
{
    return static_cast<IommuModel *>(opaque)->cut(iova, size);
}

uint64_t entries_left(void *opaque)
{
    const auto left = static_cast<IommuModel *>(opaque)->entries_left();

    return left ? *left : DMA_LAYOUT_NO_LIMIT;
}

void ignore_event(void *, DmaLayoutEvent, uint64_t, uint64_t, uint64_t) {}

constexpr DmaLayoutBackend kBackend = {
    .map = map_model,
    .unmap = unmap_model,
    .cut = cut_model,
    .entries_left = entries_left,
    .event = ignore_event,
};

/* A layout whose mappings are in a model with ten entries */
class DmaLayoutC : public testing::Test {
protected:
    void SetUp() override { ASSERT_TRUE(layout); }

    void TearDown() override { dma_layout_free(layout); }

    /* Populate eight pages, as extents of two. */
    void populate()
    {
        EXPECT_EQ(dma_layout_set_extent_size(layout, 2 * kPage), 0);
        EXPECT_EQ(dma_layout_populate(layout, 0, 8 * kPage, kMiB,
                                      DMA_LAYOUT_READ_ONLY),
                  0);
    }

    /* Populate eight pages, map them, and discard the second one. */
    void populate_and_split()
    {
        populate();
        EXPECT_EQ(dma_layout_open(layout), 0);
        EXPECT_EQ(dma_layout_discard(layout, kPage, kPage), 0);
    }

    IommuModel model{IommuKind::kType1v2, 10};
    ::DmaLayout *layout = dma_layout_new(&kBackend, &model);
};

TEST_F(DmaLayoutC, NewLayoutIsEmpty)
{
    DmaLayoutExtent extent;

    EXPECT_EQ(dma_layout_last(layout), 0u);
    EXPECT_FALSE(dma_layout_next_extent(layout, 0, UINT64_MAX, &extent));
}

TEST_F(DmaLayoutC, PopulatedMemoryCannotBePopulatedAgain)
{
    populate();
    EXPECT_EQ(dma_layout_populate(layout, 0, kPage, kMiB, DMA_LAYOUT_READ_ONLY),
              -EEXIST);
}

TEST_F(DmaLayoutC, OpeningTheGateMaps)
{
    populate();
    EXPECT_FALSE(dma_layout_is_open(layout));
    EXPECT_EQ(dma_layout_count_mapped(layout), 0u);
    EXPECT_EQ(dma_layout_open(layout), 0);
    EXPECT_TRUE(dma_layout_is_open(layout));
    EXPECT_EQ(dma_layout_count_mapped(layout), 4u);
    EXPECT_EQ(model.find(0)->vaddr, kMiB);
    EXPECT_TRUE(model.find(0)->readonly);
}

TEST_F(DmaLayoutC, StatsAfterASplit)
{
    DmaLayoutStats stats;

    populate_and_split();
    dma_layout_get_stats(layout, &stats);
    EXPECT_EQ(stats.extents, 4u);
    EXPECT_EQ(stats.populated_size, 7 * kPage);
    EXPECT_EQ(stats.mapped_size, 7 * kPage);
    EXPECT_EQ(stats.splits, 1u);
    EXPECT_EQ(stats.mapped_extents, 4u);
    EXPECT_EQ(stats.by_order[12], 1u);
    EXPECT_EQ(stats.by_order[13], 3u);
    EXPECT_EQ(stats.entries_limit, 10u);
    EXPECT_EQ(stats.entries_reserve, 2u);
}

TEST_F(DmaLayoutC, ExtentsAfterASplit)
{
    DmaLayoutExtent extent;

    populate_and_split();
    EXPECT_EQ(dma_layout_last(layout), 8 * kPage - 1);
    EXPECT_TRUE(dma_layout_next_extent(layout, kPage, 2 * kPage, &extent));
    EXPECT_EQ(extent.iova, 2 * kPage);
    EXPECT_EQ(extent.size, 2 * kPage);
    EXPECT_TRUE(extent.mapped);
    EXPECT_TRUE(
        dma_layout_next_extent(layout, 4 * kPage - 1, UINT64_MAX, &extent));
    EXPECT_EQ(extent.iova, 2 * kPage);
    EXPECT_FALSE(dma_layout_next_extent(layout, kPage, 2 * kPage - 1, &extent));
    EXPECT_FALSE(
        dma_layout_next_extent(layout, 8 * kPage, UINT64_MAX, &extent));
    EXPECT_EQ(model.find(0)->vaddr, kMiB);
    EXPECT_TRUE(model.find(0)->readonly);
}

TEST_F(DmaLayoutC, ClosingAndFreeingUnmapNothing)
{
    populate_and_split();
    dma_layout_close(layout);
    EXPECT_FALSE(dma_layout_is_open(layout));
    dma_layout_free(layout);
    layout = nullptr;
    dma_layout_free(nullptr);
    EXPECT_EQ(model.mappings().size(), 4u);
}

TEST(DmaLayoutCCuts, DiscardsByCuts)
{
    IommuModel model(shared_dma::IommuKind::kIommufdCut);
    DmaLayout *layout = dma_layout_new(&kBackend, &model);

    EXPECT_FALSE(dma_layout_uses_cuts(layout));
    dma_layout_use_cuts(layout);
    EXPECT_TRUE(dma_layout_uses_cuts(layout));
    EXPECT_EQ(dma_layout_open(layout), 0);
    EXPECT_EQ(
        dma_layout_populate(layout, 0, 8 * kPage, kMiB, DMA_LAYOUT_READ_WRITE),
        0);
    EXPECT_EQ(dma_layout_discard(layout, kPage, kPage), 0);
    EXPECT_EQ(dma_layout_count_mapped(layout), 2u);
    EXPECT_EQ(model.map_calls(), 1u);
    dma_layout_free(layout);
}

} // namespace
