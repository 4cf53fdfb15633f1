/*
 * DmaLayout: cutting populated memory into extents, splitting them for holes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <vector>

#include "tests/gtest/dma-layout-test.h"

namespace {

using shared_dma::DmaLayout;
using shared_dma::DmaLayoutOf;
using shared_dma::populate_streams;
using shared_dma::rig::Event;
using shared_dma::rig::Memory;
using shared_dma::rig::Rig;
using shared_dma::rig::kGiB;
using shared_dma::rig::kLarge;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;
using shared_dma::rig::kTiB;

constexpr uint64_t kTop = UINT64_MAX - (kPage - 1);

TEST_P(DmaLayoutOf, StartsEmptyAndClosed)
{
    rig.check();
    EXPECT_FALSE(rig.layout().is_open());
    EXPECT_EQ(rig.size(), 0u);
    EXPECT_EQ(rig.discard(0, kGiB), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.calls(), 0u);
}

TEST_P(DmaLayoutOf, CutsAtBlockBoundaries)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(510 * kPage, 1030 * kPage), 0);
    EXPECT_EQ(rig.extents(), "510+2 512+512 1024+512 1536+4");
    EXPECT_EQ(rig.populate(4 * kMiB, 2 * kMiB), -EEXIST);
    EXPECT_EQ(rig.populate(8 * kMiB, 2 * kMiB), 0);
    EXPECT_EQ(rig.extents(), "510+2 512+512 1024+512 1536+4 2048+512");
    EXPECT_EQ(rig.nmaps(), 5u);
    EXPECT_EQ(rig.discard(510 * kPage, 1030 * kPage), 0);
    EXPECT_EQ(rig.nunmaps(), 1u);
    EXPECT_EQ(rig.extents(), "2048+512");
}

TEST_P(DmaLayoutOf, KeepsRequestsApart)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_EQ(rig.populate(2 * kPage, kPage), 0);
    EXPECT_EQ(rig.populate(kPage, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+1 1+1 2+1");
    EXPECT_FALSE(rig.layout().extents().at(kPage).joined);
    EXPECT_FALSE(rig.layout().extents().at(2 * kPage).joined);
    EXPECT_EQ(rig.discard(kPage, kPage), 0);
    EXPECT_EQ(rig.nmaps(), 3u);
    EXPECT_EQ(rig.nunmaps(), 1u);
    EXPECT_EQ(rig.stats().splits, 0u);
}

TEST_P(DmaLayoutOf, KeepsRecordedRequestsApart)
{
    EXPECT_EQ(rig.populate(4 * kPage, kPage), 0);
    EXPECT_EQ(rig.populate(3 * kPage, kPage), 0);
    EXPECT_EQ(rig.populate(2 * kPage, kPage), 0);
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_EQ(rig.populate(kPage, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+1 1+1 2+1 3+1 4+1");
    /* The next request cannot continue into a populated page. */
    EXPECT_EQ(rig.populate(2 * kPage, kPage), -EEXIST);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.extents(), "0+1 1+1 2+1 3+1 4+1");
    for (uint64_t i = 0; i < 5; i++) {
        EXPECT_EQ(rig.discard(i * kPage, kPage), 0);
    }
    EXPECT_EQ(rig.nmaps(), 5u);
    EXPECT_EQ(rig.nunmaps(), 5u);
}

/* A small request next to a stream, or that ends one, stays separate, too. */
TEST_P(DmaLayoutOf, KeepsSmallRequestsOutOfStreams)
{
    const uint64_t small = kLarge - kPage;

    EXPECT_EQ(rig.populate(0, small), 0);
    EXPECT_EQ(rig.populate(small, kLarge), 0);
    EXPECT_EQ(rig.populate(small + kLarge, kLarge), 0);
    EXPECT_EQ(rig.populate(small + 2 * kLarge, small), 0);
    EXPECT_EQ(rig.extents(), "0+127 127+256 383+127");
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.nmaps(), 3u);
    EXPECT_EQ(rig.discard(small + 2 * kLarge, small), 0);
    EXPECT_EQ(rig.nmaps(), 3u);
    EXPECT_EQ(rig.stats().splits, 0u);
}

TEST_P(DmaLayoutOf, StreamsAreJoined)
{
    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 0; i < 4; i++) {
        EXPECT_EQ(rig.populate(i * kLarge, kLarge), 0);
        EXPECT_EQ(rig.layout().extents().at(i * kLarge).joined, i > 0);
    }
    /* A discard interrupts the stream. */
    EXPECT_EQ(rig.discard(kLarge, kLarge), 0);
    EXPECT_FALSE(rig.layout().extents().at(2 * kLarge).joined);
    EXPECT_TRUE(rig.layout().extents().at(3 * kLarge).joined);
}

TEST_P(DmaLayoutOf, TracksEightStreams)
{
    populate_streams(rig, 8, 4);
    EXPECT_EQ(rig.size(), 8u);
    EXPECT_EQ(rig.stats().smallest_extent, 4 * kLarge);
}

TEST_P(DmaLayoutOf, DoesNotTrackNineStreams)
{
    populate_streams(rig, 9, 4);
    EXPECT_EQ(rig.size(), 9u * 4);
}

TEST_P(DmaLayoutOf, RecordsStreamsOfOneKindOnly)
{
    Memory readonly = {.access = DMA_LAYOUT_READ_ONLY};
    Memory elsewhere = {.offset = kTiB};

    EXPECT_EQ(rig.set_extent_size(kGiB), 0);
    EXPECT_EQ(rig.populate(0, 4 * kMiB), 0);
    EXPECT_EQ(rig.populate(4 * kMiB, 4 * kMiB, readonly), 0);
    EXPECT_EQ(rig.populate(8 * kMiB, 4 * kMiB), 0);
    EXPECT_EQ(rig.populate(12 * kMiB, 4 * kMiB, elsewhere), 0);
    EXPECT_EQ(rig.populate(16 * kMiB, 4 * kMiB), 0);
    EXPECT_EQ(rig.populate(20 * kMiB, 4 * kMiB), 0);
    EXPECT_EQ(rig.size(), 5u);
    EXPECT_EQ(rig.open(), 0);
}

/* Splitting */

TEST_P(DmaLayoutOf, HoleInABlock)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(2 * kMiB, 2 * kMiB), 0);
    EXPECT_EQ(rig.discard(2 * kMiB + 300 * kPage, kPage), 0);
    EXPECT_EQ(rig.extents(),
              "512+256 768+32 800+8 808+4 813+1 814+2 816+16 832+64 896+128");
    EXPECT_EQ(rig.size(), 9u);
    EXPECT_EQ(rig.nunmaps(), 1u);
    EXPECT_EQ(rig.nmaps(), 10u);
    EXPECT_EQ(rig.events(),
              (std::vector<Event>{{DMA_LAYOUT_SPLIT, 2 * kMiB, 2 * kMiB, 9}}));

    /* The next hole nearby unmaps little memory. */
    EXPECT_EQ(rig.discard(2 * kMiB + 302 * kPage, kPage), 0);
    EXPECT_EQ(rig.nmaps(), 11u);
}

TEST_P(DmaLayoutOf, EveryHoleOfOnePageIsNinePieces)
{
    for (uint64_t page = 0; page < 512; page++) {
        Rig fresh(GetParam());

        EXPECT_EQ(fresh.open(), 0);
        EXPECT_EQ(fresh.populate(0, 2 * kMiB), 0);
        EXPECT_EQ(fresh.discard(page * kPage, kPage), 0);
        EXPECT_EQ(fresh.size(), 9u);
        EXPECT_EQ(fresh.nunmaps(), 1u);
    }
}

TEST_P(DmaLayoutOf, FirstAndLastPage)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 4 * kMiB), 0);
    EXPECT_EQ(rig.discard(0, kPage), 0);
    EXPECT_EQ(rig.extents(),
              "1+1 2+2 4+4 8+8 16+16 32+32 64+64 128+128 256+256 512+512");
    EXPECT_EQ(rig.discard(1023 * kPage, kPage), 0);
    EXPECT_EQ(rig.extents(),
              "1+1 2+2 4+4 8+8 16+16 32+32 64+64 128+128 256+256 512+256 "
              "768+128 896+64 960+32 992+16 1008+8 1016+4 1020+2 1022+1");
    EXPECT_EQ(rig.nunmaps(), 2u);
}

TEST_P(DmaLayoutOf, RangeOverSeveralExtentsIsOneCall)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 8 * kMiB), 0);
    EXPECT_EQ(rig.discard(kMiB, 5 * kMiB), 0);
    EXPECT_EQ(rig.extents(), "0+256 1536+512");
    EXPECT_EQ(rig.populate(kMiB, 5 * kMiB), 0);
    EXPECT_EQ(rig.discard(kMiB + kMiB / 2, 5 * kMiB), 0);
    EXPECT_EQ(rig.extents(), "0+256 256+128 1664+128 1792+256");
    EXPECT_EQ(rig.nunmaps(), 2u);
    EXPECT_EQ(rig.stats().splits, 2u);

    /* A range that has gaps is also discarded in one call. */
    EXPECT_EQ(rig.discard(0, kGiB), 0);
    EXPECT_EQ(rig.nunmaps(), 3u);
    EXPECT_EQ(rig.discard(0, kGiB), 0);
    EXPECT_EQ(rig.nunmaps(), 3u);
}

/* Invalid arguments, and the ends of the address space */

TEST_P(DmaLayoutOf, RefusesInvalidRanges)
{
    for (bool open : {false, true}) {
        if (open) {
            EXPECT_EQ(rig.open(), 0);
        }
        EXPECT_EQ(rig.populate(0, 0), -EINVAL);
        EXPECT_EQ(rig.populate(kTop, 2 * kPage), -EINVAL);
        EXPECT_EQ(rig.discard(0, 0), -EINVAL);
        EXPECT_EQ(rig.discard(kTop, 2 * kPage), -EINVAL);
        EXPECT_EQ(rig.calls(), 0u);
    }
    EXPECT_EQ(rig.populate(kMiB, kMiB), 0);
    EXPECT_EQ(rig.populate(kMiB, kMiB), -EEXIST);
    EXPECT_EQ(rig.populate(0, kMiB + kPage), -EEXIST);
    EXPECT_EQ(rig.populate(2 * kMiB - kPage, kMiB), -EEXIST);
    EXPECT_EQ(rig.populate(0, kGiB), -EEXIST);
    EXPECT_EQ(rig.populate(kMiB + kPage, kPage), -EEXIST);
    EXPECT_EQ(rig.nmaps(), 1u);
}

/* No IOMMU supports such addresses, but guests can use them. */
TEST_P(DmaLayoutOf, LastPages)
{
    EXPECT_EQ(rig.populate(kTop, kPage), 0);
    EXPECT_EQ(rig.populate(kTop - 4 * kPage, kPage), 0);
    EXPECT_EQ(rig.populate(kTop - 3 * kPage, kPage), 0);
    EXPECT_EQ(rig.populate(kTop - 2 * kPage, 3 * kPage), -EEXIST);
    EXPECT_EQ(rig.populate(kTop - 2 * kPage, 2 * kPage), 0);
    EXPECT_EQ(rig.populate(kTop, kPage), -EEXIST);
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_FALSE(rig.layout().extents().at(0).joined);
    EXPECT_EQ(rig.size(), 5u);
    EXPECT_EQ(rig.discard(kTop, kPage), 0);
    EXPECT_EQ(rig.discard(kTop - kGiB, kGiB + kPage), 0);
    EXPECT_EQ(rig.discard(0, kPage), 0);
    EXPECT_EQ(rig.size(), 0u);

    /* Nearly the whole address space. */
    EXPECT_EQ(rig.set_extent_size(UINT64_C(1) << 63), 0);
    EXPECT_EQ(rig.populate(0, kTop), 0);
    EXPECT_EQ(rig.size(), 2u);
    EXPECT_EQ(rig.populate(kTop, kPage), 0);
    EXPECT_EQ(rig.discard(kTiB, kPage), 0);
    EXPECT_EQ(rig.discard(0, kTop), 0);
    EXPECT_EQ(rig.discard(kTop, kPage), 0);
    EXPECT_EQ(rig.size(), 0u);
    EXPECT_EQ(rig.calls(), 0u);

    EXPECT_EQ(rig.populate(kTop, kPage), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stats().missing_size, kPage);
}

/* Split extents at the top of an IOMMU with 64-bit addresses. */
TEST(DmaLayoutTop, HolesAtTheTop)
{
    const DmaLayoutBackend backend = {
        .map = [](void *, uint64_t, uint64_t, uint64_t,
                  DmaLayoutAccess) { return 0; },
        .unmap = [](void *, uint64_t, uint64_t) { return 0; },
        .cut = nullptr,
        .entries_left = [](void *) -> uint64_t { return 100; },
        .event = [](void *, DmaLayoutEvent, uint64_t, uint64_t, uint64_t) {},
    };
    DmaLayout layout(backend, nullptr);

    EXPECT_EQ(layout.open(), 0);
    EXPECT_EQ(
        layout.populate(kTop - kGiB, kGiB + kPage, 0, DMA_LAYOUT_READ_WRITE),
        0);
    for (uint64_t i = 0; i < 8; i++) {
        EXPECT_EQ(layout.broken_invariant(), nullptr);
        EXPECT_EQ(layout.discard(kTop - i * i * kPage, kPage), 0);
    }
    for (uint64_t i = 8; i > 0; i--) {
        EXPECT_EQ(layout.populate(kTop - (i - 1) * (i - 1) * kPage, kPage,
                                  kGiB - (i - 1) * (i - 1) * kPage,
                                  DMA_LAYOUT_READ_WRITE),
                  0);
        EXPECT_EQ(layout.broken_invariant(), nullptr);
    }
    EXPECT_EQ(layout.stats().populated_size, kGiB + kPage);
    EXPECT_EQ(layout.stats().missing_size, 0u);
    EXPECT_EQ(layout.discard(0, UINT64_MAX - (kPage - 1)), 0);
    EXPECT_EQ(layout.discard(kTop, kPage), 0);
    EXPECT_EQ(layout.stats().extents, 0u);
}

} // namespace
