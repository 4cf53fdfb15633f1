/*
 * DmaExtentMap: its extents and counters
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "hw/vfio/dma-extent-map.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <iterator>
#include <random>

namespace {

using shared_dma::DmaExtent;
using shared_dma::DmaExtentMap;
using shared_dma::DmaExtentSizes;

constexpr uint64_t kPage = DmaExtentMap::kPage;

/* Return an extent of @npages whose host address equals its IOVA. */
DmaExtent extent_at(uint64_t page, uint64_t npages)
{
    return {
        .size = npages * kPage,
        .vaddr = page * kPage,
        .access = DMA_LAYOUT_READ_WRITE,
        .large = true,
        .joined = false,
        .mapped = false,
    };
}

class DmaExtentMapTest : public testing::Test {
protected:
    ~DmaExtentMapTest() override
    {
        EXPECT_STREQ(map.broken_invariant(), nullptr);
    }

    DmaExtentMap::Iterator insert(uint64_t page, uint64_t npages)
    {
        return map.insert(page * kPage, extent_at(page, npages));
    }

    DmaExtentMap map;
};

TEST_F(DmaExtentMapTest, StartsEmpty)
{
    EXPECT_TRUE(map.empty());
    EXPECT_EQ(map.size(), 0u);
    EXPECT_EQ(map.find(0), map.end());
    EXPECT_EQ(map.largest(), 0u);
    EXPECT_EQ(map.smallest(), 0u);
    EXPECT_EQ(map.total_size(), 0u);
}

TEST_F(DmaExtentMapTest, FindsExtentThatEndsAtAnAddressOrLater)
{
    insert(2, 2);
    insert(8, 1);
    EXPECT_EQ(map.find(0)->first, 2 * kPage);
    EXPECT_EQ(map.find(2 * kPage)->first, 2 * kPage);
    EXPECT_EQ(map.find(4 * kPage - 1)->first, 2 * kPage);
    EXPECT_EQ(map.find(4 * kPage)->first, 8 * kPage);
    EXPECT_EQ(map.find(9 * kPage), map.end());
    EXPECT_EQ(map.lower_bound(3 * kPage)->first, 8 * kPage);
    EXPECT_EQ(map.lower_bound(8 * kPage)->first, 8 * kPage);
    EXPECT_EQ(map.upper_bound(8 * kPage), map.end());
    EXPECT_EQ(map.at(8 * kPage).size, kPage);
    EXPECT_EQ(DmaExtentMap::last_of(*map.begin()), 4 * kPage - 1);
}

/* The exclusive end of the last page of the address space wraps to 0. */
TEST_F(DmaExtentMapTest, LastPage)
{
    const uint64_t page = UINT64_MAX / kPage;

    insert(page, 1);
    EXPECT_EQ(map.find(UINT64_MAX)->first, page * kPage);
    EXPECT_EQ(DmaExtentMap::last_of(*map.begin()), UINT64_MAX);
}

TEST_F(DmaExtentMapTest, CountsSizes)
{
    std::array<uint64_t, 64> counts;

    insert(0, 1);
    insert(4, 3);
    insert(16, 4);
    EXPECT_EQ(map.total_size(), 8 * kPage);
    EXPECT_EQ(map.largest(), 4 * kPage);
    EXPECT_EQ(map.smallest(), kPage);
    map.count_by_order(counts);
    EXPECT_EQ(counts[12], 1u);
    EXPECT_EQ(counts[13], 1u);
    EXPECT_EQ(counts[14], 1u);
    map.erase(map.begin());
    EXPECT_EQ(map.smallest(), 3 * kPage);
    EXPECT_EQ(map.total_size(), 7 * kPage);
}

TEST_F(DmaExtentMapTest, CountsMappedExtents)
{
    const auto it = insert(0, 2);

    insert(4, 1);
    map.mark_mapped(it);
    EXPECT_EQ(map.nmapped(), 1u);
    EXPECT_EQ(map.mapped_size(), 2 * kPage);
    map.mark_unmapped(it);
    EXPECT_EQ(map.nmapped(), 0u);
    map.mark_mapped(it);
    map.erase(it);
    EXPECT_EQ(map.nmapped(), 0u);
    EXPECT_EQ(map.mapped_size(), 0u);
}

/* Neighbours can be a single mapping only if all their properties match. */
TEST_F(DmaExtentMapTest, CountsSeams)
{
    const auto a = insert(0, 2);
    const auto b = insert(2, 2);

    EXPECT_TRUE(map.is_seam(b));
    EXPECT_FALSE(map.is_seam(a));
    EXPECT_FALSE(map.is_seam(map.end()));
    EXPECT_EQ(map.nseams(false), 1u);
    map.mark_mapped(a);
    EXPECT_FALSE(map.is_seam(b));
    EXPECT_EQ(map.nseams(false), 0u);
    map.mark_mapped(b);
    EXPECT_EQ(map.nseams(true), 1u);

    DmaExtent small = extent_at(8, 1);
    small.large = false;
    const auto c = map.insert(8 * kPage, small);
    const auto d = insert(9, 1);

    EXPECT_EQ(map.nseams(false), 1u);
    map.mark_mapped(c);
    map.mark_mapped(d);
    EXPECT_FALSE(map.is_seam(d));
    EXPECT_EQ(map.nseams(true), 1u);
    map.erase(d);
    map.erase(c);

    DmaExtent other = extent_at(4, 1);
    other.mapped = true;
    other.access = DMA_LAYOUT_READ_ONLY;
    map.insert(4 * kPage, other);
    EXPECT_EQ(map.nseams(true), 1u);

    DmaExtent elsewhere = extent_at(5, 1);
    elsewhere.vaddr += kPage;
    map.insert(5 * kPage, elsewhere);
    insert(7, 1);
    EXPECT_EQ(map.nseams(false), 0u);
    map.erase(a);
    EXPECT_EQ(map.nseams(true), 0u);
}

/* An extent that fills a gap touches both of its neighbours. */
TEST_F(DmaExtentMapTest, InsertingAndErasingBetweenCountsBothSeams)
{
    insert(0, 1);
    insert(2, 1);

    const auto it = insert(1, 1);

    EXPECT_EQ(map.nseams(false), 2u);
    EXPECT_EQ(map.erase(it)->first, 2 * kPage);
    EXPECT_EQ(map.nseams(false), 0u);
}

TEST_F(DmaExtentMapTest, Grows)
{
    std::array<uint64_t, 64> counts;
    const auto it = insert(0, 1);

    insert(16, 8);
    map.grow(it, kPage);
    EXPECT_STREQ(map.broken_invariant(), nullptr);
    map.grow(it, kPage);
    EXPECT_EQ(map.at(0).size, 3 * kPage);
    EXPECT_EQ(map.total_size(), 11 * kPage);
    EXPECT_EQ(map.smallest(), 3 * kPage);
    EXPECT_EQ(map.largest(), 8 * kPage);
    map.count_by_order(counts);
    EXPECT_EQ(counts[13], 1u);
    EXPECT_EQ(counts[15], 1u);
    EXPECT_EQ(counts[12], 0u);

    /* The extent becomes the largest; another extent grows after it. */
    map.grow(it, 12 * kPage);
    EXPECT_EQ(map.largest(), 15 * kPage);
    EXPECT_EQ(map.smallest(), 8 * kPage);
    map.grow(map.find(16 * kPage), 8 * kPage);
    EXPECT_EQ(map.smallest(), 15 * kPage);
    EXPECT_EQ(map.largest(), 16 * kPage);
}

TEST_F(DmaExtentMapTest, GrowsUpToTheNext)
{
    const auto it = insert(0, 1);

    insert(3, 1);
    map.grow(it, kPage);
    EXPECT_EQ(map.nseams(false), 0u);
    map.grow(it, kPage);
    EXPECT_EQ(map.nseams(false), 1u);
    EXPECT_TRUE(map.is_seam(std::next(it)));
}

/* Growing detects a neighbour that was inserted after the last growth. */
TEST_F(DmaExtentMapTest, GrowsUpToANewOne)
{
    const auto it = insert(0, 1);

    map.grow(it, kPage);
    insert(4, 1);
    map.grow(it, 2 * kPage);
    EXPECT_EQ(map.nseams(false), 1u);
}

TEST_F(DmaExtentMapTest, ErasesAGrownExtent)
{
    const auto it = insert(0, 1);

    map.grow(it, kPage);
    map.erase(it);
    EXPECT_EQ(map.largest(), 0u);
    EXPECT_EQ(map.smallest(), 0u);
}

TEST_F(DmaExtentMapTest, Cuts)
{
    const auto back = map.divide(insert(4, 5), 2 * kPage);

    EXPECT_EQ(back->first, 6 * kPage);
    EXPECT_EQ(back->second.size, 3 * kPage);
    EXPECT_EQ(back->second.vaddr, 6 * kPage);
    EXPECT_TRUE(back->second.joined);
    EXPECT_EQ(map.at(4 * kPage).size, 2 * kPage);
    EXPECT_FALSE(map.at(4 * kPage).joined);
    EXPECT_EQ(map.nseams(false), 1u);
    map.separate(back);
    EXPECT_FALSE(back->second.joined);
}

TEST_F(DmaExtentMapTest, Joins)
{
    const auto first = insert(1, 1);

    insert(2, 3);
    insert(5, 1);
    insert(6, 1);

    const auto joined = map.join(first, map.find(6 * kPage));

    EXPECT_EQ(joined->first, kPage);
    EXPECT_EQ(joined->second.size, 5 * kPage);
    EXPECT_EQ(joined->second.vaddr, kPage);
    EXPECT_EQ(map.size(), 2u);
    EXPECT_EQ(map.nseams(false), 1u);
    EXPECT_EQ(map.total_size(), 6 * kPage);
}

/* Changes of the original do not affect a copy. */
TEST_F(DmaExtentMapTest, IsAValue)
{
    const auto it = insert(0, 1);
    map.grow(it, kPage);
    const DmaExtentMap copy = map;

    map.grow(it, kPage);
    map.erase(it);
    EXPECT_EQ(copy.size(), 1u);
    EXPECT_EQ(copy.largest(), 2 * kPage);
    EXPECT_STREQ(copy.broken_invariant(), nullptr);
}

/* Make random changes of a few pages, so that most extents touch. */
TEST_F(DmaExtentMapTest, KeepsItsCountersInRandomSteps)
{
    constexpr uint64_t kPages = 48;
    std::mt19937_64 random(1);
    uint64_t ngrown = 0, ncut = 0, njoined = 0;

    for (int step = 0; step < 20000; step++) {
        const uint64_t page = random() % kPages;
        const auto it = map.find(page * kPage);
        const bool is_there = it != map.end() && it->first <= page * kPage;

        if (!is_there) {
            insert(page, 1);
        } else if (random() % 4 == 0) {
            map.erase(it);
        } else if (it->second.mapped) {
            map.mark_unmapped(it);
        } else if (random() % 4 == 0) {
            map.mark_mapped(it);
        } else if (it->second.size > kPage && random() % 2) {
            map.divide(it, kPage);
            ncut++;
        } else if (map.is_seam(std::next(it))) {
            map.join(it, std::next(it, 2));
            njoined++;
        } else if (std::next(it) == map.end() ||
                   std::next(it)->first > it->first + it->second.size) {
            map.grow(it, kPage);
            ngrown++;
        }
        ASSERT_STREQ(map.broken_invariant(), nullptr) << "step " << step;
    }
    EXPECT_GT(ngrown, 100u);
    EXPECT_GT(ncut, 100u);
    EXPECT_GT(njoined, 100u);
}

TEST(DmaExtentSizesTest, ReturnsTheLargestAndTheSmallest)
{
    DmaExtentSizes sizes;

    EXPECT_EQ(sizes.largest(), 0u);
    EXPECT_EQ(sizes.smallest(), 0u);
    sizes.add(kPage);
    sizes.add(kPage);
    sizes.add(UINT64_C(1) << 63);
    EXPECT_EQ(sizes.largest(), UINT64_C(1) << 63);
    EXPECT_EQ(sizes.by_order()[63], 1u);
    sizes.remove(UINT64_C(1) << 63);
    sizes.remove(kPage);
    EXPECT_EQ(sizes.largest(), kPage);
    EXPECT_EQ(sizes.by_order()[12], 1u);
    sizes.remove(kPage);
    EXPECT_EQ(sizes, DmaExtentSizes());
}

} // namespace
