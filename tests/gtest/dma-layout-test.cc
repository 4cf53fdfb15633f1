/*
 * DmaLayout against a model of the kernel, and a model of itself
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "hw/vfio/dma-layout.h"

#include <gtest/gtest.h>
#include <linux/pci_regs.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "hw/vfio/bus-master.h"
#include "tests/model/dma-layout-rig.h"
#include "tests/model/iommu-model.h"

void shared_dma::model_check_failed(const char *file, int line,
                                    const std::string &what)
{
    ADD_FAILURE_AT(file, line) << what;
}

namespace {

using shared_dma::DmaExtent;
using shared_dma::DmaBudget;
using shared_dma::DmaLayout;
using shared_dma::IommuKind;
using shared_dma::IommuModel;
using shared_dma::IommuRule;
using shared_dma::rig::Event;
using shared_dma::rig::kGiB;
using shared_dma::rig::kKiB;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;
using shared_dma::rig::kTiB;
using shared_dma::rig::Memory;
using shared_dma::rig::Rig;

constexpr uint64_t kTop = UINT64_MAX - (kPage - 1);

/* What does not depend on the number of entries is the same with both. */
class DmaLayoutOf : public testing::TestWithParam<IommuKind> {
protected:
    DmaLayoutOf() : rig(GetParam()) {}

    Rig rig;
};

INSTANTIATE_TEST_SUITE_P(Kinds, DmaLayoutOf,
                         testing::Values(IommuKind::kType1v2,
                                         IommuKind::kIommufd),
                         [](const auto &info) {
                             return info.param == IommuKind::kType1v2
                                        ? "type1v2"
                                        : "iommufd";
                         });

/* Cutting */

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

TEST_P(DmaLayoutOf, CutsAtBordersOfBlocks)
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
    EXPECT_TRUE(rig.layout().extents().at(kPage).joined);
    EXPECT_FALSE(rig.layout().extents().at(2 * kPage).joined);
    EXPECT_EQ(rig.discard(kPage, kPage), 0);
    EXPECT_EQ(rig.nmaps(), 3u);
    EXPECT_EQ(rig.nunmaps(), 1u);
    EXPECT_EQ(rig.stats().splits, 0u);
}

TEST_P(DmaLayoutOf, KeepsRequestsApartThatAreRecorded)
{
    EXPECT_EQ(rig.populate(4 * kPage, kPage), 0);
    EXPECT_EQ(rig.populate(3 * kPage, kPage), 0);
    EXPECT_EQ(rig.populate(2 * kPage, kPage), 0);
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_EQ(rig.populate(kPage, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+2 2+1 3+1 4+1");
    /* The stream ends where something is. */
    EXPECT_EQ(rig.populate(2 * kPage, kPage), -EEXIST);
    EXPECT_EQ(rig.extents(), "0+2 2+1 3+1 4+1");
}

TEST_P(DmaLayoutOf, StreamsAreJoined)
{
    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 0; i < 4; i++) {
        EXPECT_EQ(rig.populate(i * kPage, kPage), 0);
        EXPECT_EQ(rig.layout().extents().at(i * kPage).joined, i > 0);
    }
    /* What is discarded breaks it. */
    EXPECT_EQ(rig.discard(kPage, kPage), 0);
    EXPECT_FALSE(rig.layout().extents().at(2 * kPage).joined);
    EXPECT_TRUE(rig.layout().extents().at(3 * kPage).joined);
}

/* As many interleaved streams as given, of @count pages each. */
void populate_streams(Rig &rig, uint64_t nstreams, uint64_t count,
                      uint64_t size = kPage, uint64_t distance = 16 * kMiB)
{
    for (uint64_t i = 0; i < count; i++) {
        for (uint64_t stream = 0; stream < nstreams; stream++) {
            ASSERT_EQ(rig.populate(stream * distance + i * size, size), 0);
        }
    }
}

TEST_P(DmaLayoutOf, KnowsEightStreams)
{
    populate_streams(rig, 8, 16);
    EXPECT_EQ(rig.size(), 8u);
    EXPECT_EQ(rig.stats().smallest_extent, 16 * kPage);
}

TEST_P(DmaLayoutOf, DoesNotKnowNineStreams)
{
    populate_streams(rig, 9, 16);
    EXPECT_EQ(rig.size(), 9u * 16);
}

TEST_P(DmaLayoutOf, RecordsStreamsOfOneKindOnly)
{
    Memory readonly = {.readonly = true};
    Memory elsewhere = {.offset = kTiB};
    Memory coarse = {.granularity = 4 * kMiB};

    EXPECT_EQ(rig.populate(0, 4 * kMiB), 0);
    EXPECT_EQ(rig.populate(4 * kMiB, 4 * kMiB, readonly), 0);
    EXPECT_EQ(rig.populate(8 * kMiB, 4 * kMiB), 0);
    EXPECT_EQ(rig.populate(12 * kMiB, 4 * kMiB, elsewhere), 0);
    EXPECT_EQ(rig.populate(16 * kMiB, 4 * kMiB), 0);
    EXPECT_EQ(rig.populate(20 * kMiB, 4 * kMiB, coarse), 0);
    EXPECT_EQ(rig.size(), 6u);
    EXPECT_EQ(rig.open(), 0);
}

/* The gate */

TEST_P(DmaLayoutOf, ClosedGateOnlyRecords)
{
    EXPECT_EQ(rig.populate(0, 3 * kGiB), 0);
    EXPECT_EQ(rig.extents(), "0+262144 262144+262144 524288+262144");
    EXPECT_EQ(rig.discard(kMiB, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+256 257+261887 262144+262144 524288+262144");
    EXPECT_EQ(rig.populate(kMiB, kPage), 0);
    EXPECT_EQ(rig.discard(0, 3 * kGiB), 0);
    EXPECT_EQ(rig.calls(), 0u);
    EXPECT_TRUE(rig.events().empty());
}

TEST_P(DmaLayoutOf, ClosedGateExtendsUpToABlock)
{
    const uint64_t start = kGiB - 3 * kPage;

    for (uint64_t i = 0; i < 8; i++) {
        EXPECT_EQ(rig.populate(start + i * kPage, kPage), 0);
    }
    EXPECT_EQ(rig.extents(), "262141+3 262144+5");
    /* One request across a border. */
    EXPECT_EQ(rig.populate(start + 8 * kPage, kGiB), 0);
    EXPECT_EQ(rig.extents(), "262141+3 262144+262144 524288+5");
    EXPECT_EQ(rig.calls(), 0u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.nmaps(), 3u);
}

/* What is extended does not run into what is there. */
TEST_P(DmaLayoutOf, ClosedGateExtendsUpToTheNext)
{
    for (uint64_t first : {UINT64_C(0), kMiB, kGiB - 2 * kPage}) {
        for (uint64_t gap = 0; gap < 4; gap++) {
            Rig fresh(GetParam());
            const uint64_t next = first + (1 + gap) * kPage;

            EXPECT_EQ(fresh.populate(next, kPage), 0);
            EXPECT_EQ(fresh.populate(first, kPage), 0);
            for (uint64_t i = 1; i <= gap; i++) {
                EXPECT_EQ(fresh.populate(first + i * kPage, kPage), 0);
            }
            EXPECT_EQ(fresh.populate(next, kPage), -EEXIST);
            EXPECT_EQ(fresh.populate(next + kPage, kPage), 0);
            EXPECT_EQ(fresh.open(), 0);
        }
    }
}

TEST_P(DmaLayoutOf, SixtyFourMebibytes)
{
    constexpr uint64_t kSize = 64 * kMiB;

    for (uint64_t i = 0; i < kSize / kPage; i++) {
        ASSERT_EQ(rig.populate(i * kPage, kPage), 0);
    }
    EXPECT_EQ(rig.size(), 1u);
    EXPECT_EQ(rig.calls(), 0u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.nmaps(), 1u);
    EXPECT_EQ(rig.discard(0, kSize), 0);

    EXPECT_EQ(rig.populate(0, kSize), 0);
    EXPECT_EQ(rig.size(), 32u);
    EXPECT_EQ(rig.discard(0, kSize), 0);

    for (uint64_t i = 0; i < kSize / (2 * kMiB); i++) {
        ASSERT_EQ(rig.populate(i * 2 * kMiB, 2 * kMiB), 0);
    }
    EXPECT_EQ(rig.size(), 32u);
    EXPECT_EQ(rig.nunmaps(), 2u);
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
            /* The next time. */
            EXPECT_EQ(fresh.open(), 0);
            EXPECT_EQ(fresh.model().mappings().size(), 10u);
        }
    }
}

/* A second opening that fails unmaps what the first has mapped, too. */
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

TEST_P(DmaLayoutOf, CloseKeepsWhatIsMapped)
{
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 8 * kMiB), 0);
    rig.close();
    EXPECT_EQ(rig.layout().extents().nmapped(), 4u);
    EXPECT_EQ(rig.populate(16 * kMiB, kPage), 0);
    EXPECT_EQ(rig.layout().extents().nmapped(), 4u);

    /* What remains of what is discarded now is not mapped again. */
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

    /* The next hole nearby takes little away. */
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

    /* And with gaps. */
    EXPECT_EQ(rig.discard(0, kGiB), 0);
    EXPECT_EQ(rig.nunmaps(), 3u);
    EXPECT_EQ(rig.discard(0, kGiB), 0);
    EXPECT_EQ(rig.nunmaps(), 3u);
}

/* Policies */

TEST_P(DmaLayoutOf, ExtentsOfOnePage)
{
    const Memory coarse = {.granularity = 2 * kMiB};

    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_PAGE), 0);
    EXPECT_EQ(rig.populate(0, 100 * kPage), 0);
    EXPECT_EQ(rig.populate(100 * kPage, 10 * kPage), 0);
    EXPECT_EQ(rig.size(), 110u);
    EXPECT_EQ(rig.calls(), 0u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(200 * kPage, 7 * kPage), 0);
    EXPECT_EQ(rig.populate(kGiB, 8 * kMiB, coarse), 0);
    EXPECT_EQ(rig.size(), 121u);
    EXPECT_EQ(rig.discard(50 * kPage, 25 * kPage), 0);
    EXPECT_EQ(rig.discard(kGiB + 2 * kMiB, 4 * kMiB), 0);
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

/* Growing under pressure does not go beyond what there is. */
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

TEST_P(DmaLayoutOf, CoarseMemoryIsCutAsItIsDiscarded)
{
    for (uint64_t granularity : {kMiB, 2 * kMiB, 128 * kMiB}) {
        for (bool open : {true, false}) {
            Rig fresh(GetParam());
            const Memory coarse = {.granularity = granularity};

            if (open) {
                EXPECT_EQ(fresh.open(), 0);
            }
            EXPECT_EQ(fresh.populate(granularity, 16 * granularity, coarse), 0);
            EXPECT_EQ(fresh.size(), 16u);
            EXPECT_EQ(fresh.open(), 0);
            EXPECT_EQ(fresh.nmaps(), 16u);
            for (uint64_t i = 2; i <= 16; i += 3) {
                EXPECT_EQ(fresh.discard(i * granularity, 2 * granularity), 0);
            }
            EXPECT_EQ(fresh.nmaps(), 16u);
            EXPECT_EQ(fresh.size(), 6u);
            EXPECT_EQ(fresh.stats().splits, 0u);
        }
    }
}

TEST_P(DmaLayoutOf, NewSizeCutsWhatIsRecorded)
{
    EXPECT_EQ(rig.populate(kGiB - 2 * kMiB, 8 * kMiB), 0);
    EXPECT_EQ(rig.size(), 2u);
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
        Memory odd = {.readonly = true};

        /* Nothing here could be merged. */
        for (uint64_t i = 0; i < 101; i++) {
            EXPECT_EQ(rig.populate(i * kMiB, kPage, i % 2 ? odd : Memory()), 0);
        }
        EXPECT_EQ(rig.set_extent_size(size), -ENOSPC);
        EXPECT_EQ(rig.size(), 101u);
        EXPECT_EQ(rig.calls(), 0u);
        EXPECT_EQ(rig.open(), -ENOSPC);
        EXPECT_EQ(rig.discard(0, 40 * kMiB), 0);
        EXPECT_EQ(rig.open(), 0);
        /* Still the old size. */
        EXPECT_EQ(rig.populate(kTiB, 2 * kMiB), 0);
        EXPECT_EQ(rig.layout().extents().at(kTiB).size, 2 * kMiB);
        EXPECT_EQ(rig.stats().entries_left, 13u);
    }
}

/* Not even what it has merged by then: pages stay apart. */
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

/* Rather larger extents than too many. */
TEST(DmaLayoutBudget, NewSizeMergesWhatIsRecorded)
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

/* Budget */

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
        /* Each could be merged with no other. */
        EXPECT_EQ(rig.populate(used * kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.stats().entries_left, 0u);
    EXPECT_EQ(rig.populate(limit * kGiB, kPage), -ENOSPC);
    EXPECT_EQ(rig.size(), limit);
    EXPECT_EQ(rig.stats().merges, 0u);
    ASSERT_EQ(rig.count_events(DMA_LAYOUT_PRESSURE), 5u);
    EXPECT_EQ(rig.events()[0], (Event{DMA_LAYOUT_PRESSURE, 0, 32 * kMiB, 25}));
    EXPECT_EQ(rig.events()[1], (Event{DMA_LAYOUT_PRESSURE, 0, 512 * kMiB, 37}));

    /* And shrink again. */
    rig.forget_events();
    EXPECT_EQ(rig.discard(0, 24 * kGiB), 0);
    EXPECT_EQ(rig.stats().block_size, 2 * kMiB);
    EXPECT_EQ(rig.events(),
              (std::vector<Event>{{DMA_LAYOUT_PRESSURE, 0, 2 * kMiB, 24}}));
}

TEST(DmaLayoutBudget, StreamsAreMergedUnderPressure)
{
    Rig rig(IommuKind::kType1v2, 64);
    uint64_t used = 0;

    EXPECT_EQ(rig.open(), 0);
    for (; used < 25; used++) {
        EXPECT_EQ(rig.populate((1 + used) * kGiB, kPage), 0);
    }
    /* Blocks of 32 MiB now. */
    rig.forget_events();
    for (uint64_t i = 0; i < 15; i++) {
        EXPECT_EQ(rig.populate(i * 2 * kMiB, 2 * kMiB), 0);
        EXPECT_EQ(rig.stats().merges, 0u);
    }
    EXPECT_EQ(rig.size(), 40u);
    EXPECT_EQ(rig.populate(30 * kMiB, 2 * kMiB), 0);
    EXPECT_EQ(rig.size(), 26u);
    EXPECT_EQ(rig.stats().merges, 1u);
    EXPECT_EQ(rig.layout().extents().at(0).size, 32 * kMiB);
    EXPECT_EQ(rig.nunmaps(), 1u);
    EXPECT_EQ(std::count(rig.events().begin(), rig.events().end(),
                         Event{DMA_LAYOUT_MERGE, 0, 32 * kMiB, 16}),
              1);
}

/* Requests that do not follow each other are not merged without need. */
TEST(DmaLayoutBudget, OthersAreNotMergedUnderPressure)
{
    Rig rig(IommuKind::kType1v2, 64);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t used = 0; used < 25; used++) {
        EXPECT_EQ(rig.populate((1 + used) * kGiB, kPage), 0);
    }
    for (uint64_t i = 40; i > 32; i--) {
        EXPECT_EQ(rig.populate((i - 1) * 2 * kMiB, 2 * kMiB), 0);
    }
    /* A stream from the middle of a block to its end. */
    for (uint64_t i = 40; i < 48; i++) {
        EXPECT_EQ(rig.populate(i * 2 * kMiB, 2 * kMiB), 0);
    }
    EXPECT_EQ(rig.stats().merges, 0u);
    EXPECT_EQ(rig.size(), 41u);
}

/* Nothing of that has neighbours. */
void populate_until_merged(Rig &rig)
{
    const uint64_t nmerges = rig.stats().merges;

    while (rig.stats().merges == nmerges) {
        ASSERT_EQ(rig.populate(kTiB + rig.nmaps() * kGiB, kPage), 0);
    }
}

/* Merged are those of a stream first, and those in a block first. */
TEST(DmaLayoutBudget, WhatIsMergedFirst)
{
    Rig rig(IommuKind::kType1v2, 256);

    EXPECT_EQ(rig.open(), 0);
    /* Not of a stream. */
    for (uint64_t i = 64; i > 0; i--) {
        EXPECT_EQ(rig.populate(i * kPage, kPage), 0);
    }
    /* A stream of 65 blocks. */
    EXPECT_EQ(rig.populate(2 * kMiB, 130 * kMiB), 0);
    /* A stream in a block. */
    for (uint64_t i = 0; i < 8; i++) {
        EXPECT_EQ(rig.populate(kGiB + i * kPage, kPage), 0);
    }
    while (rig.stats().entries_left) {
        EXPECT_EQ(rig.populate(kTiB + rig.size() * kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.stats().merges, 0u);
    populate_until_merged(rig);
    EXPECT_EQ(rig.layout().extents().at(kGiB).size, 8 * kPage);
    EXPECT_EQ(rig.layout().extents().at(2 * kMiB).size, 2 * kMiB);
    EXPECT_EQ(rig.layout().extents().at(kPage).size, kPage);
    populate_until_merged(rig);
    EXPECT_EQ(rig.layout().extents().at(2 * kMiB).size, 130 * kMiB);
    EXPECT_EQ(rig.layout().extents().at(kPage).size, kPage);
    populate_until_merged(rig);
    EXPECT_EQ(rig.layout().extents().at(kPage).size, 64 * kPage);
}

/* Merged is only what is alike. */
TEST(DmaLayoutBudget, WhatIsNeverMerged)
{
    Rig rig(IommuKind::kType1v2, 8);
    const Memory plain;

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, kPage, plain), 0);
    EXPECT_EQ(rig.populate(kPage, kPage, {.readonly = true}), 0);
    EXPECT_EQ(rig.populate(2 * kPage, kPage, plain), 0);
    EXPECT_EQ(rig.populate(3 * kPage, kPage, {.offset = kTiB}), 0);
    EXPECT_EQ(rig.populate(4 * kPage, 2 * kPage,
                           {.offset = kTiB, .granularity = 2 * kPage}),
              0);
    EXPECT_EQ(rig.populate(6 * kPage, kPage, {.offset = 2 * kTiB}), 0);
    EXPECT_EQ(rig.populate(7 * kPage, kPage, {.readonly = true}), -ENOSPC);
    EXPECT_EQ(rig.size(), 6u);
    EXPECT_EQ(rig.stats().merges, 0u);
}

/* Single pages that touch, and that come in any order, under any limit. */
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
        /* Backwards: not a stream. */
        for (uint64_t i = 3 * limit; i > 0; i--) {
            ASSERT_EQ(rig.populate(i * kPage, kPage), 0);
        }
        EXPECT_LE(rig.size(), entries);
        EXPECT_EQ(rig.open(), 0);

        /* Now what has no neighbours. */
        uint64_t i = 0;
        int ret;

        do {
            ret = rig.populate(kGiB + i++ * 2 * kPage, kPage);
        } while (!ret);
        EXPECT_EQ(ret, -ENOSPC);
        EXPECT_FALSE(rig.has_neighbours());
        EXPECT_EQ(i, entries);
        EXPECT_EQ(rig.size(), entries);

        /* Splits still find entries, and then go on without. */
        for (uint64_t page = 2; page < 3 * limit; page += 2) {
            EXPECT_EQ(rig.discard(page * kPage, kPage), 0);
            EXPECT_EQ(rig.stats().missing_size == 0,
                      rig.size() <= rig.model().mappings().size());
        }
        EXPECT_EQ(rig.discard(kGiB, kGiB), 0);
        EXPECT_EQ(rig.discard(0, kGiB), 0);
        EXPECT_EQ(rig.size(), 0u);
        EXPECT_EQ(rig.stats().missing_size, 0u);
    }
}

/* One request larger than fits in blocks is cut in larger ones. */
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

/* What was only made longer by a request that fails is as it was, too. */
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

/* With the last entry gone, what touches something becomes a part of it. */
TEST(DmaLayoutBudget, LastEntryGrowsWithItsNeighbours)
{
    for (bool open_first : {true, false}) {
        Rig rig(IommuKind::kType1v2, 20);
        uint64_t n = 0;

        if (open_first) {
            EXPECT_EQ(rig.open(), 0);
        } else {
            EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_AUTO), 0);
        }
        while (!rig.populate(n * 4 * kPage, kPage)) {
            n++;
        }
        EXPECT_EQ(rig.size(), n);
        EXPECT_EQ(rig.stats().entries_left, 0u);
        /* To the right of one, to the left of one, and in between. */
        EXPECT_EQ(rig.populate(kPage, kPage), 0);
        EXPECT_EQ(rig.populate(7 * kPage, kPage), 0);
        EXPECT_EQ(rig.size(), n);
        /* A stream that is recorded stays next to what it comes to. */
        EXPECT_EQ(rig.populate(2 * kPage, 2 * kPage), 0);
        EXPECT_EQ(rig.size(), open_first ? n - 1 : n);
        /* There is an entry again. */
        EXPECT_EQ(rig.populate(kGiB, kPage), 0);
        EXPECT_EQ(rig.populate(2 * kGiB, kPage), -ENOSPC);
        EXPECT_EQ(rig.stats().missing_size, 0u);
        EXPECT_EQ(rig.stats().merges, open_first ? 3u : 0u);
    }
}

/* Memory that is given back block by block is not touched before it must be. */
TEST(DmaLayoutBudget, CoarseMemoryIsLeftAlone)
{
    Rig rig(IommuKind::kType1v2, 400);
    const Memory blocks = {.granularity = 2 * kMiB};
    uint64_t n = 0;

    EXPECT_EQ(rig.open(), 0);
    for (; rig.stats().entries_left; n++) {
        EXPECT_EQ(rig.populate(n * 2 * kMiB, 2 * kMiB, blocks), 0);
    }
    EXPECT_EQ(rig.size(), n);
    EXPECT_EQ(rig.discard(50 * kMiB, 2 * kMiB), 0);
    EXPECT_EQ(rig.stats().splits, 0u);
    EXPECT_EQ(rig.stats().merges, 0u);
    EXPECT_EQ(rig.populate(50 * kMiB, 2 * kMiB, blocks), 0);
    /* Otherwise this would fail. */
    EXPECT_EQ(rig.populate(kTiB, 128 * kMiB, blocks), 0);
    EXPECT_GT(rig.stats().merges, 0u);
}

/* However short entries are, a hole takes no more than 1 GiB away. */
TEST(DmaLayoutBudget, BlocksDoNotGrowTooLarge)
{
    Rig rig(IommuKind::kType1v2, 400);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 0; rig.stats().entries_left > 20; i++) {
        EXPECT_EQ(rig.populate(kTiB + i * kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.populate(16 * kGiB, 15 * kGiB), 0);
    EXPECT_EQ(rig.stats().largest_extent, kGiB);
}

/* A kernel that is out of memory does not get to see every neighbour. */
TEST(DmaLayoutBudget, MergingStopsWhenItFails)
{
    Rig rig(IommuKind::kType1v2, 8);

    EXPECT_EQ(rig.open(), 0);
    for (uint64_t i = 0; i < 3; i++) {
        EXPECT_EQ(rig.populate((10 * i + 1) * kPage, kPage), 0);
        EXPECT_EQ(rig.populate(10 * i * kPage, kPage), 0);
    }
    EXPECT_EQ(rig.stats().entries_left, 0u);
    rig.model().fail_map(1, ENOMEM);
    EXPECT_EQ(rig.populate(kGiB, kPage), -ENOSPC);
    EXPECT_EQ(rig.stats().unmap_calls, 1u);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
}

/* Each attempt would map all that can be, and unmap it again. */
TEST(DmaLayoutBudget, OpenThatCannotWorkMapsNothing)
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

TEST(DmaLayoutBudget, OpenMergesWhatDoesNotFit)
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

TEST(DmaLayoutBudget, SplitsAtTheVeryLimit)
{
    Rig rig(IommuKind::kType1v2, 5);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    for (uint64_t i = 1; i < 4; i++) {
        EXPECT_EQ(rig.populate(i * kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.populate(kTiB, kPage), -ENOSPC);
    rig.forget_events();

    /* One is kept for this, so the remainder is coarse. */
    EXPECT_EQ(rig.discard(100 * kPage, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+100 101+411 262144+1 524288+1 786432+1");
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.events(),
              (std::vector<Event>{{DMA_LAYOUT_SPLIT, 0, 2 * kMiB, 2}}));

    /* None is left: one of the remainders is missing. */
    rig.forget_events();
    EXPECT_EQ(rig.discard(50 * kPage, kPage), 0);
    EXPECT_EQ(rig.extents(), "0+50 51+49 101+411 262144+1 524288+1 786432+1");
    EXPECT_EQ(rig.stats().missing_size, 49 * kPage);
    EXPECT_EQ(rig.events(),
              (std::vector<Event>{
                  {DMA_LAYOUT_MISSING, 51 * kPage, 49 * kPage, ENOSPC},
                  {DMA_LAYOUT_SPLIT, 0, 100 * kPage, 2}}));
    EXPECT_EQ(rig.populate(kTiB, kPage), -ENOSPC);

    /* Mended as soon as an entry is free. */
    rig.forget_events();
    EXPECT_EQ(rig.discard(3 * kGiB, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.events(), (std::vector<Event>{{DMA_LAYOUT_MENDED, 51 * kPage,
                                                 49 * kPage, 1}}));
}

/* What is missing is discarded as all else. */
TEST(DmaLayoutBudget, DiscardsWhatIsMissing)
{
    Rig rig(IommuKind::kType1v2, 2);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    EXPECT_EQ(rig.discard(100 * kPage, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, 411 * kPage);

    /* A hole in it needs no call; what remains is still missing. */
    const uint64_t nunmaps = rig.nunmaps();

    EXPECT_EQ(rig.discard(200 * kPage, kPage), 0);
    EXPECT_EQ(rig.nunmaps(), nunmaps);
    EXPECT_EQ(rig.stats().missing_size, 410 * kPage);
    EXPECT_EQ(rig.discard(101 * kPage, kMiB), 0);
    EXPECT_EQ(rig.nunmaps(), nunmaps);
    EXPECT_EQ(rig.discard(0, kTiB), 0);
    EXPECT_EQ(rig.nunmaps(), nunmaps + 1);
}

/* Closing forgets what is missing, opening maps it or fails. */
TEST(DmaLayoutBudget, ReopensWithWhatWasMissing)
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

TEST(DmaLayoutBudget, OthersTakeEntries)
{
    for (uint32_t limit : {20, 100, 300, 1000}) {
        Rig rig(IommuKind::kType1v2, limit);
        const uint64_t count = limit - std::min(limit / 4, UINT32_C(64));

        EXPECT_EQ(rig.open(), 0);
        rig.check_seldom();
        for (uint64_t i = count; i > 0; i--) {
            EXPECT_EQ(rig.populate(i * kPage, kPage), 0);
        }
        rig.check(true);
        rig.take_entries(limit);
        EXPECT_EQ(rig.model().entries_left(), 0u);

        /* There are neighbours: so it must fit. */
        for (uint64_t i = 0; i < limit; i++) {
            const int ret = rig.populate(kGiB + i * 2 * kPage, kPage);

            ASSERT_TRUE(!ret || !rig.has_neighbours()) << i;
            if (ret) {
                EXPECT_EQ(ret, -ENOSPC);
                EXPECT_GT(i, 5u);
                break;
            }
        }
        rig.check(true);

        /* All is left again: small extents, then. */
        rig.give_entries_back(limit);
        EXPECT_EQ(rig.populate(kTiB, kPage), 0);
        rig.check(true);
    }
}

TEST(DmaLayoutBudget, OthersTakeEntriesBeforeASplit)
{
    Rig rig(IommuKind::kType1v2, 100);

    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.populate(0, 2 * kMiB), 0);
    rig.take_entries(100);
    EXPECT_EQ(rig.discard(100 * kPage, kPage), 0);
    EXPECT_GT(rig.stats().missing_size, 0u);
    EXPECT_GT(rig.stats().mapped_size, 0u);
    rig.give_entries_back(100);
    EXPECT_EQ(rig.discard(kGiB, kPage), 0);
    EXPECT_EQ(rig.populate(kGiB, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_GT(rig.count_events(DMA_LAYOUT_MENDED), 0u);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_MENDED),
              rig.count_events(DMA_LAYOUT_MISSING));
}

/* What is missing gets the entries before a new request does. */
TEST(DmaLayoutBudget, MendsBeforeItRefuses)
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
    rig.give_entries_back(40);
    /* Only together the remainders are few enough. */
    EXPECT_EQ(rig.populate(kTiB, kPage), 0);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.size(), 30u);
}

/* Where the kernel knows no limit, there is one all the same. */
TEST(DmaLayoutBudget, NoMoreThanAMebiOfExtents)
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

    /* As under a limit of the kernel's: what touches something fits. */
    EXPECT_EQ(rig.populate(0, kPage), -ENOSPC);
    EXPECT_EQ(rig.populate(kTiB + kPage, kPage), 0);
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_EQ(rig.discard(kTiB, kGiB), 0);
    EXPECT_GT(rig.stats().entries_left, 0u);
    rig.check(true);
}

/* Who asks for an extent a page gets that. */
TEST(DmaLayoutBudget, AsManyExtentsAsThereArePages)
{
    Rig rig(IommuKind::kIommufd);

    EXPECT_EQ(rig.set_extent_size(DMA_LAYOUT_PAGE), 0);
    EXPECT_EQ(rig.stats().entries_limit, DMA_LAYOUT_NO_LIMIT);
    EXPECT_EQ(rig.stats().entries_left, DMA_LAYOUT_NO_LIMIT);
    rig.check_seldom();
    EXPECT_EQ(rig.populate(0, (DmaBudget::kMaxExtents + 1) * kPage), 0);
    EXPECT_EQ(rig.size(), DmaBudget::kMaxExtents + 1);
}

/* Failures of the kernel's */

TEST_P(DmaLayoutOf, PopulatingThatFailsChangesNothing)
{
    for (int error : {ENOMEM, EFAULT, ENOSPC}) {
        for (uint64_t n = 1; n <= 5; n++) {
            Rig fresh(GetParam());

            EXPECT_EQ(fresh.open(), 0);
            EXPECT_EQ(fresh.populate(0, kPage), 0);
            EXPECT_EQ(fresh.populate(16 * kMiB, kPage, {.readonly = true}), 0);
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
        EXPECT_EQ(fresh.count_events(DMA_LAYOUT_MENDED), 1u);

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

/* What the kernel does not map for what it is */

/* Where the interrupt controllers of an x86 host are: never mapped. */
constexpr uint64_t kReserved = 0xfee00000;
constexpr uint64_t kReservedSize = kMiB;

/* An address that the IOMMU does not have is missing, and nothing else. */
TEST_P(DmaLayoutOf, OpenMapsAllButWhatIsRefused)
{
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_EQ(rig.populate(UINT64_C(1) << 48, 3 * kPage), 0);
    EXPECT_EQ(rig.populate(kTiB, 8 * kMiB), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.extents(), "0+1 268435456+2048 68719476736+3");
    EXPECT_EQ(rig.stats().mapped_size, 8 * kMiB + kPage);
    EXPECT_EQ(rig.stats().missing_size, 3 * kPage);
    EXPECT_EQ(rig.events(),
              (std::vector<Event>{
                  {DMA_LAYOUT_MISSING, UINT64_C(1) << 48, 3 * kPage, EINVAL}}));
    rig.close();
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stats().missing_size, 3 * kPage);
}

/* An extent is cut around what cannot be mapped of it. */
TEST_P(DmaLayoutOf, OpenCutsAroundWhatIsRefused)
{
    EXPECT_EQ(rig.populate(kReserved - 5 * kMiB, 12 * kMiB), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stats().missing_size, kReservedSize);
    EXPECT_EQ(rig.layout().extents().at(kReserved).size, kReservedSize);
    EXPECT_EQ(rig.stats().mapped_size, 11 * kMiB);
    EXPECT_LT(rig.stats().failures, 40u);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_MISSING), 1u);
}

TEST_P(DmaLayoutOf, OpenMissesSinglePages)
{
    for (uint64_t bad : {0, 1, 100, 511, 512, 262143}) {
        Rig fresh(GetParam());
        const uint64_t vaddr = Memory().offset;

        if (bad) {
            fresh.model().add_memory(vaddr, bad * kPage, true);
        }
        fresh.model().add_memory(vaddr + (bad + 1) * kPage, kGiB, true);
        EXPECT_EQ(fresh.populate(0, kGiB), 0);
        EXPECT_EQ(fresh.open(), 0);
        EXPECT_EQ(fresh.stats().missing_size, kPage);
        EXPECT_FALSE(fresh.layout().extents().at(bad * kPage).mapped);
        EXPECT_LT(fresh.stats().failures, 25u);

        /* Who discards it has no more to do with it. */
        EXPECT_EQ(fresh.discard(bad * kPage, kPage), 0);
        EXPECT_EQ(fresh.stats().missing_size, 0u);
        EXPECT_EQ(fresh.stats().splits, 0u);
    }
}

/* A file system that is too small for what is in it. */
TEST_P(DmaLayoutOf, OpenMissesWhatFollows)
{
    constexpr uint64_t kThere = 61 * kMiB + 3 * kPage;

    rig.model().add_memory(Memory().offset, kThere, true);
    EXPECT_EQ(rig.populate(0, 512 * kMiB), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stats().mapped_size, kThere);
    EXPECT_EQ(rig.stats().missing_size, 512 * kMiB - kThere);
    EXPECT_FALSE(rig.layout().extents().at(kThere).mapped);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_MISSING), 1u);
    EXPECT_LT(rig.stats().failures, 50u);
}

/* However much cannot be mapped, it is found out with a number of calls. */
TEST_P(DmaLayoutOf, OpenDoesNotLookForEver)
{
    constexpr uint64_t kPieces = 4096;

    for (uint64_t i = 0; i < kPieces; i++) {
        rig.model().add_memory(Memory().offset + 2 * i * kPage, kPage, true);
    }
    EXPECT_EQ(rig.populate(0, 2 * kPieces * kPage), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_GT(rig.stats().mapped_size, 0u);
    EXPECT_LE(rig.stats().failures, 1050u);

    /* And not again, each time that a guest opens and closes the gate. */
    const uint64_t failures = rig.stats().failures;
    const uint64_t refused = rig.size() - rig.layout().extents().nmapped();

    for (int i = 0; i < 1000; i++) {
        rig.close();
        EXPECT_EQ(rig.open(), 0);
    }
    EXPECT_LE(rig.stats().failures - failures, 11 * refused);
}

/* Nothing is cut for what fails only once, or when there are no entries. */
TEST_P(DmaLayoutOf, OpenThatFailsOnceMissesNothing)
{
    for (uint64_t n = 1; n <= 10; n++) {
        Rig fresh(GetParam());

        for (uint64_t i = 0; i < 10; i++) {
            EXPECT_EQ(fresh.populate(i * 4 * kMiB, 2 * kMiB), 0);
        }
        fresh.model().fail_map(n, EFAULT);
        EXPECT_EQ(fresh.open(), 0);
        EXPECT_EQ(fresh.stats().missing_size, 0u);
        EXPECT_EQ(fresh.stats().failures, 1u);
    }
}

TEST(DmaLayoutBudget, OpenCutsNothingWithoutEntries)
{
    Rig rig(IommuKind::kType1v2, 4);

    EXPECT_EQ(rig.populate(kReserved - kMiB, 4 * kMiB), 0);
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_LE(rig.size(), 3u);
    EXPECT_GE(rig.stats().missing_size, kReservedSize);
    EXPECT_TRUE(rig.layout().extents().at(0).mapped);
}

/* Too little of something, while it is looked for what is refused. */
TEST_P(DmaLayoutOf, OpenThatRunsShortWhileItCuts)
{
    for (uint64_t n = 2; n < 40; n++) {
        Rig fresh(GetParam());

        EXPECT_EQ(fresh.populate(kReserved - 5 * kMiB, 12 * kMiB), 0);
        fresh.model().fail_map(n, ENOMEM);

        const int ret = fresh.open();

        fresh.model().fail_map(0, 0);
        if (!ret) {
            EXPECT_GT(n, 20u);
            return;
        }
        EXPECT_EQ(ret, -ENOMEM);
        EXPECT_EQ(fresh.model().mappings().size(), 0u);
        EXPECT_EQ(fresh.open(), 0);
        EXPECT_EQ(fresh.stats().missing_size, kReservedSize);
    }
    ADD_FAILURE() << "no end of calls";
}

/* What stays refused is tried again less and less often, but is mended. */
TEST_P(DmaLayoutOf, WhatIsRefusedIsTriedSeldom)
{
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_EQ(rig.populate(2 * kPage, kPage), 0);
    rig.refuse_maps(EFAULT, 1, UINT64_MAX);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stats().missing_size, 2 * kPage);
    for (int i = 0; i < 5000; i++) {
        EXPECT_EQ(rig.discard(kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.stats().failures, 2u * 14);

    /* The next try is after as many changes as there were. */
    rig.refuse_maps(0, 0, 0);
    for (int i = 0; i < 5000 && rig.stats().missing_size; i++) {
        EXPECT_EQ(rig.discard(kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_MENDED), 2u);
}

/* What is short for a moment is mended at once, whatever else is refused. */
TEST_P(DmaLayoutOf, WhatIsRefusedKeepsNothingFromBeingMended)
{
    constexpr uint64_t kRefused = 40;

    for (uint64_t i = 0; i < kRefused; i++) {
        EXPECT_EQ(rig.populate((UINT64_C(1) << 48) + i * 2 * kPage, kPage), 0);
    }
    EXPECT_EQ(rig.open(), 0);
    for (uint64_t iova = 0; iova < kGiB; iova += 4 * kMiB) {
        EXPECT_EQ(rig.populate(iova, 2 * kMiB), 0);
        rig.refuse_maps(ENOMEM, 1, UINT64_MAX);
        EXPECT_EQ(rig.discard(iova + 100 * kPage, kPage), 0);
        EXPECT_GT(rig.stats().missing_size, kRefused * kPage);
        rig.refuse_maps(0, 0, 0);
        EXPECT_EQ(rig.discard(kTiB, kPage), 0);
        EXPECT_EQ(rig.stats().missing_size, kRefused * kPage);
    }
}

/* Memory that is populated beside what is refused is a new try. */
TEST_P(DmaLayoutOf, WhatIsRefusedDoesNotGrow)
{
    rig.model().add_memory(Memory().offset + kPage, kMiB, true);
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stats().missing_size, kPage);
    for (uint64_t i = 0; i < 10; i++) {
        rig.close();
        EXPECT_EQ(rig.open(), 0);
    }
    rig.close();
    EXPECT_EQ(rig.populate(kPage, 9 * kPage), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.stats().missing_size, kPage);
    EXPECT_EQ(rig.stats().mapped_size, 9 * kPage);
}

/* Odd input, and the ends of the world */

TEST_P(DmaLayoutOf, RefusesWhatIsNoRange)
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

/* No IOMMU goes that far, but guests can ask. */
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
    EXPECT_EQ(rig.size(), 3u);
    EXPECT_EQ(rig.discard(kTop, kPage), 0);
    EXPECT_EQ(rig.discard(kTop - kGiB, kGiB + kPage), 0);
    EXPECT_EQ(rig.discard(0, kPage), 0);
    EXPECT_EQ(rig.size(), 0u);

    /* Nearly all there is. */
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

/* The same with an IOMMU that takes it. */
TEST(DmaLayoutTop, HolesAtTheTop)
{
    const DmaLayoutBackend backend = {
        .map = [](void *, uint64_t, uint64_t, uint64_t, bool) { return 0; },
        .unmap = [](void *, uint64_t, uint64_t) { return 0; },
        .entries_left = [](void *) -> uint64_t { return 100; },
        .event = [](void *, DmaLayoutEvent, uint64_t, uint64_t, uint64_t) {},
    };
    DmaLayout layout(backend, nullptr);

    EXPECT_EQ(layout.open(), 0);
    EXPECT_EQ(layout.populate(kTop - kGiB, kGiB + kPage, 0, kPage, false), 0);
    for (uint64_t i = 0; i < 8; i++) {
        EXPECT_EQ(layout.broken_invariant(), nullptr);
        EXPECT_EQ(layout.discard(kTop - i * i * kPage, kPage), 0);
    }
    for (uint64_t i = 8; i > 0; i--) {
        EXPECT_EQ(layout.populate(kTop - (i - 1) * (i - 1) * kPage, kPage,
                                  kGiB - (i - 1) * (i - 1) * kPage, kPage,
                                  false),
                  0);
        EXPECT_EQ(layout.broken_invariant(), nullptr);
    }
    EXPECT_EQ(layout.stats().populated_size, kGiB + kPage);
    EXPECT_EQ(layout.stats().missing_size, 0u);
    EXPECT_EQ(layout.discard(0, UINT64_MAX - (kPage - 1)), 0);
    EXPECT_EQ(layout.discard(kTop, kPage), 0);
    EXPECT_EQ(layout.stats().extents, 0u);
}

/* A terabyte */

/* Calls and bytes mapped in each quarter of a run, per request. */
struct Quarter {
    double maps;
    double unmaps;
    double bytes;
    /* At its end. */
    uint64_t entries;
};

/* A run of @nrequests of the same size, one after the other in @nstreams. */
std::vector<Quarter> run_in_quarters(Rig &rig, uint64_t nrequests,
                                     uint64_t size, uint64_t nstreams)
{
    const uint64_t per_stream = nrequests / nstreams;
    std::vector<Quarter> quarters;

    rig.check_seldom();
    for (uint64_t quarter = 0; quarter < 4; quarter++) {
        const uint64_t nmaps = rig.nmaps();
        const uint64_t nunmaps = rig.nunmaps();
        const uint64_t bytes = rig.model().bytes_ever_mapped();

        for (uint64_t i = 0; i < nrequests / 4; i++) {
            const uint64_t request = quarter * (nrequests / 4) + i;
            const uint64_t iova =
                kTiB + request % nstreams * kTiB + request / nstreams * size;

            if (rig.populate(iova, size)) {
                ADD_FAILURE() << "request " << request;
                return quarters;
            }
        }
        rig.check(true);
        quarters.push_back(
            {static_cast<double>(rig.nmaps() - nmaps) * 4 / nrequests,
             static_cast<double>(rig.nunmaps() - nunmaps) * 4 / nrequests,
             static_cast<double>(rig.model().bytes_ever_mapped() - bytes) * 4 /
                 nrequests / size,
             rig.size()});
    }
    EXPECT_EQ(rig.stats().mapped_size, nrequests * size);
    EXPECT_EQ(rig.stats().missing_size, 0u);
    for (uint64_t stream = 0; stream < nstreams; stream++) {
        EXPECT_EQ(rig.discard(kTiB + stream * kTiB, per_stream * size), 0);
    }
    EXPECT_EQ(rig.size(), 0u);
    return quarters;
}

/* Each byte is mapped again once for each size that blocks grow to. */
void expect_flat(const std::vector<Quarter> &quarters)
{
    const char *names[] = {"first", "second", "third", "last"};

    ASSERT_EQ(quarters.size(), 4u);
    for (size_t i = 0; i < quarters.size(); i++) {
        testing::Test::RecordProperty(
            names[i], std::to_string(quarters[i].maps) + " maps, " +
                          std::to_string(quarters[i].unmaps) + " unmaps, " +
                          std::to_string(quarters[i].bytes) +
                          " times its size mapped, " +
                          std::to_string(quarters[i].entries) + " entries");
        EXPECT_LT(quarters[i].maps, 1.2);
        EXPECT_LT(quarters[i].unmaps, 0.2);
        EXPECT_LT(quarters[i].bytes, 4);
    }
    EXPECT_LT(quarters[3].maps, 1.1 * quarters[0].maps);
    EXPECT_LT(quarters[3].bytes, 2 * quarters[0].bytes);
}

TEST(DmaLayoutTerabyte, InRequestsOfABlock)
{
    Rig rig;

    EXPECT_EQ(rig.open(), 0);
    expect_flat(run_in_quarters(rig, kTiB / (2 * kMiB), 2 * kMiB, 1));
}

TEST(DmaLayoutTerabyte, InFourStreams)
{
    Rig rig;

    EXPECT_EQ(rig.open(), 0);
    expect_flat(run_in_quarters(rig, kTiB / (2 * kMiB), 2 * kMiB, 4));
}

TEST(DmaLayoutTerabyte, FourGibibytesInPages)
{
    Rig rig;

    EXPECT_EQ(rig.open(), 0);
    expect_flat(run_in_quarters(rig, 4 * kGiB / kPage, kPage, 1));
}

TEST(DmaLayoutTerabyte, FourGibibytesInPagesOfFourStreams)
{
    Rig rig;

    EXPECT_EQ(rig.open(), 0);
    expect_flat(run_in_quarters(rig, 4 * kGiB / kPage, kPage, 4));
}

/* Without a limit of the kernel's nothing is merged, up to very many extents.
 */
TEST(DmaLayoutTerabyte, WithoutALimit)
{
    Rig rig(IommuKind::kIommufd);

    EXPECT_EQ(rig.open(), 0);

    const auto quarters =
        run_in_quarters(rig, kTiB / (2 * kMiB) - 64, 2 * kMiB, 1);

    ASSERT_EQ(quarters.size(), 4u);
    for (const Quarter &quarter : quarters) {
        EXPECT_EQ(quarter.maps, 1);
        EXPECT_EQ(quarter.bytes, 1);
    }
}

/* Random steps */

uint64_t number_from_environment(const char *name, uint64_t fallback)
{
    const char *text = std::getenv(name);

    return text ? std::strtoull(text, nullptr, 0) : fallback;
}

struct RandomParams {
    const char *name;
    IommuKind kind;
    uint32_t limit;
    uint64_t extent_size;
};

/* What happened in all runs, to see that it does. */
struct Tally {
    uint64_t populated = 0;
    uint64_t refused = 0;
    uint64_t discarded = 0;
    uint64_t kept = 0;
    uint64_t opened = 0;
    uint64_t not_opened = 0;
    uint64_t with_missing = 0;
    uint64_t splits = 0;
    uint64_t merges = 0;
    uint64_t calls = 0;
};

/*
 * Conversions, gate changes and failures in random order, with memory of
 * several kinds side by side.  Set DMA_LAYOUT_TEST_SEEDS and
 * DMA_LAYOUT_TEST_STEPS for longer runs, DMA_LAYOUT_TEST_FIRST for others.
 */
class RandomRun {
public:
    RandomRun(const RandomParams &params, uint64_t seed, Tally &tally)
        : params_(params), random_(seed), tally_(tally),
          rig_(params.kind, params.limit), unkind_(seed % 2)
    {
        const uint64_t size =
            params.extent_size == DMA_LAYOUT_PAGE ? 2 * kMiB : 40 * kMiB;
        uint64_t base = kGiB - 3 * size / 2;

        /* Side by side, and across the border of a large block. */
        add_section(base, size, {});
        add_section(base, size, {.offset = kTiB});
        add_section(base, size, {.offset = kTiB, .readonly = true});
        base = 2 * kGiB;
        add_section(base, 8 * size, {.granularity = kMiB});
        add_section(base, 8 * size, {.granularity = 2 * kMiB});
    }

    void run(uint64_t nsteps)
    {
        if (below(4) || params_.extent_size != DMA_LAYOUT_AUTO) {
            ASSERT_EQ(rig_.set_extent_size(params_.extent_size), 0);
        }
        for (uint64_t i = 0; i < nsteps; i++) {
            step();
            ASSERT_FALSE(testing::Test::HasFailure()) << "step " << i;
        }
        /* All can go, whatever happened. */
        rig_.pinned().clear();
        rig_.discard(0, kTiB);
        rig_.give_entries_back(UINT64_MAX);
        ASSERT_EQ(rig_.size(), 0u);
        ASSERT_EQ(rig_.model().mappings().size(), 0u);
        tally_.splits += rig_.stats().splits;
        tally_.merges += rig_.stats().merges;
        tally_.calls += rig_.calls();
    }

private:
    struct Section {
        uint64_t iova;
        uint64_t size;
        Memory memory;
        uint64_t stream_ends[3];
    };

    uint64_t below(uint64_t end) { return random_() % end; }

    void add_section(uint64_t &iova, uint64_t size, const Memory &memory)
    {
        sections_.push_back({iova, size, memory, {iova, iova, iova}});
        iova += size;
    }

    /* Small ones most of the time; evenly by magnitude. */
    uint64_t random_size(const Section &section)
    {
        const uint64_t unit = section.memory.granularity;
        const uint64_t most = unit == kPage ? 13 : 5;

        return unit * (1 + below(UINT64_C(1) << below(most)));
    }

    uint64_t random_iova(const Section &section)
    {
        const uint64_t unit = section.memory.granularity;

        return section.iova + below(section.size / unit) * unit;
    }

    void step()
    {
        const uint64_t what = below(100);

        if (what < 55) {
            populate();
        } else if (what < 90) {
            discard();
        } else if (what < 94) {
            change_gate();
        } else if (unkind_ && what < 96) {
            rig_.take_entries(below(params_.limit));
        } else if (unkind_ && what < 98) {
            rig_.give_entries_back(below(params_.limit));
        }
        if (rig_.stats().missing_size) {
            tally_.with_missing++;
            EXPECT_TRUE(unkind_ || params_.limit < 10000);
        }
        if (params_.extent_size == DMA_LAYOUT_PAGE) {
            EXPECT_EQ(rig_.stats().splits, 0u);
            EXPECT_EQ(rig_.stats().merges, 0u);
        }
    }

    void maybe_fail()
    {
        if (unkind_ && !below(8)) {
            constexpr int kErrors[] = {ENOSPC, ENOMEM, EFAULT};

            rig_.model().fail_map(1 + below(5), kErrors[below(3)]);
            failing_ = true;
        }
        if (unkind_ && !below(16)) {
            rig_.refuse_unmaps(1 + below(4), 1 + below(4));
            failing_ = true;
        }
    }

    void be_kind()
    {
        rig_.model().fail_map(0, 0);
        if (below(4)) {
            rig_.pinned().clear();
        }
        rig_.refuse_unmaps(0, 0);
        failing_ = false;
    }

    /* Whether the kernel does not do what can be expected of it. */
    bool is_failing() const { return failing_ || rig_.stuck_size(); }

    void populate()
    {
        Section &section = sections_[below(sections_.size())];
        const uint64_t stream = below(3);
        uint64_t iova = section.stream_ends[stream];
        uint64_t size = random_size(section);

        if (iova >= section.iova + section.size || !below(4)) {
            iova = random_iova(section);
        }
        size = std::min(size, section.iova + section.size - iova);
        if (below(8)) {
            /* What is free there, mostly. */
            const auto &ranges = rig_.populated().ranges();
            auto it = ranges.lower_bound(iova);

            if (it != ranges.end() && it->first > iova) {
                size = std::min(size, it->first - iova);
            }
        }
        maybe_fail();

        const int ret = rig_.populate(iova, size, section.memory);

        if (!ret) {
            tally_.populated++;
        } else if (ret != -EEXIST) {
            tally_.refused++;
            EXPECT_TRUE(is_failing() || ret == -ENOSPC) << ret;
            EXPECT_TRUE(is_failing() || !rig_.has_neighbours() ||
                        params_.extent_size == DMA_LAYOUT_PAGE);
            EXPECT_TRUE(is_failing() || params_.kind == IommuKind::kType1v2);
        }
        section.stream_ends[stream] = iova + size;
        be_kind();
    }

    void discard()
    {
        const Section &section = sections_[below(sections_.size())];
        const uint64_t unit = section.memory.granularity;
        uint64_t iova = random_iova(section);
        uint64_t size = random_size(section);

        if (below(2)) {
            /* Where something is. */
            const auto &ranges = rig_.populated().ranges();
            auto it = ranges.lower_bound(iova);

            if (it != ranges.end() && it->second.memory == section.memory) {
                iova = it->first;
                iova += below((it->second.last - iova + 1) / unit) * unit;
            }
        }
        size = std::min(size, section.iova + section.size - iova);
        if (!below(50)) {
            /* And those next to it. */
            iova = 0;
            size = 4 * kGiB;
        }
        maybe_fail();
        if (unkind_ && !below(20)) {
            rig_.pinned().insert(iova + below(size / unit) * unit);
        }

        const bool kept = rig_.discard(iova, size);

        tally_.discarded += !kept;
        tally_.kept += kept;
        be_kind();
    }

    void change_gate()
    {
        if (rig_.layout().is_open()) {
            rig_.close();
            return;
        }
        maybe_fail();

        const int ret = rig_.open();

        tally_.opened += !ret;
        tally_.not_opened += ret != 0;
        if (ret && !is_failing()) {
            EXPECT_EQ(ret, -ENOSPC);
            EXPECT_EQ(params_.kind, IommuKind::kType1v2);
        }
        be_kind();
    }

    const RandomParams &params_;
    std::mt19937_64 random_;
    Tally &tally_;
    Rig rig_;
    std::vector<Section> sections_;
    /* Whether the kernel fails at random, and others take entries. */
    bool unkind_;
    bool failing_ = false;
};

class DmaLayoutRandomSteps : public testing::TestWithParam<RandomParams> {};

TEST_P(DmaLayoutRandomSteps, KeepAllInvariants)
{
    const RandomParams &params = GetParam();
    const uint64_t first = number_from_environment("DMA_LAYOUT_TEST_FIRST", 1);
    const uint64_t nseeds =
        number_from_environment("DMA_LAYOUT_TEST_SEEDS", 50);
    const uint64_t nsteps =
        number_from_environment("DMA_LAYOUT_TEST_STEPS", 400);
    Tally tally;

    for (uint64_t seed = first; seed < first + nseeds; seed++) {
        RandomRun(params, seed, tally).run(nsteps);
        ASSERT_FALSE(HasFailure()) << "with seed " << seed;
    }
    RecordProperty("steps", std::to_string(nseeds * nsteps));
    RecordProperty("populated", std::to_string(tally.populated));
    RecordProperty("refused", std::to_string(tally.refused));
    RecordProperty("discarded", std::to_string(tally.discarded));
    RecordProperty("kept", std::to_string(tally.kept));
    RecordProperty("opened", std::to_string(tally.opened));
    RecordProperty("not_opened", std::to_string(tally.not_opened));
    RecordProperty("with_missing", std::to_string(tally.with_missing));
    RecordProperty("splits", std::to_string(tally.splits));
    RecordProperty("merges", std::to_string(tally.merges));
    RecordProperty("calls", std::to_string(tally.calls));

    EXPECT_GT(tally.populated, 0u);
    EXPECT_GT(tally.discarded, 0u);
    EXPECT_GT(tally.opened, 0u);
    if (params.extent_size != DMA_LAYOUT_PAGE) {
        EXPECT_GT(tally.splits, 0u);
    }
    if (params.limit < 1000 && params.extent_size != DMA_LAYOUT_PAGE) {
        EXPECT_GT(tally.merges, 0u);
        EXPECT_GT(tally.refused, 0u);
    }
}

constexpr IommuKind kType1v2 = IommuKind::kType1v2;
constexpr IommuKind kIommufd = IommuKind::kIommufd;

INSTANTIATE_TEST_SUITE_P(
    Kinds, DmaLayoutRandomSteps,
    testing::Values(
        RandomParams{"auto_5", kType1v2, 5, DMA_LAYOUT_AUTO},
        RandomParams{"auto_20", kType1v2, 20, DMA_LAYOUT_AUTO},
        RandomParams{"auto_70", kType1v2, 70, DMA_LAYOUT_AUTO},
        RandomParams{"auto_300", kType1v2, 300, DMA_LAYOUT_AUTO},
        RandomParams{"auto_default", kType1v2, 65535, DMA_LAYOUT_AUTO},
        RandomParams{"auto_iommufd", kIommufd, 65535, DMA_LAYOUT_AUTO},
        RandomParams{"page_1000", kType1v2, 1000, DMA_LAYOUT_PAGE},
        RandomParams{"page_default", kType1v2, 65535, DMA_LAYOUT_PAGE},
        RandomParams{"page_iommufd", kIommufd, 65535, DMA_LAYOUT_PAGE},
        RandomParams{"64k_100", kType1v2, 100, 64 * kKiB},
        RandomParams{"64k_default", kType1v2, 65535, 64 * kKiB},
        RandomParams{"64k_iommufd", kIommufd, 65535, 64 * kKiB},
        RandomParams{"2m_50", kType1v2, 50, 2 * kMiB},
        RandomParams{"2m_default", kType1v2, 65535, 2 * kMiB},
        RandomParams{"1g_30", kType1v2, 30, kGiB},
        RandomParams{"1g_iommufd", kIommufd, 65535, kGiB}),
    [](const auto &info) { return info.param.name; });

/* What a device says of its bus mastering after a write */

TEST(BusMaster, IsWhatTheDeviceSays)
{
    for (bool clears : {false, true}) {
        for (uint16_t others : {0, 0x3, 0x547}) {
            const uint16_t off = others & ~PCI_COMMAND_MASTER;
            const uint16_t on = others | PCI_COMMAND_MASTER;

            EXPECT_EQ(vfio_bus_master_after_write(&off, clears),
                      VFIO_BUS_MASTER_OFF);
            EXPECT_EQ(vfio_bus_master_after_write(&on, clears),
                      VFIO_BUS_MASTER_ON);
        }
    }
}

/* A device that is gone reads as all ones, but for what the kernel makes up. */
TEST(BusMaster, IsWhatWasWrittenIfTheDeviceSaysNothing)
{
    const uint16_t gone[] = {0xffff, 0xffff & ~PCI_COMMAND_INTX_DISABLE,
                             0xffff & ~PCI_COMMAND_MEMORY};

    for (const uint16_t &command : gone) {
        EXPECT_EQ(vfio_bus_master_after_write(&command, true),
                  VFIO_BUS_MASTER_OFF);
        EXPECT_EQ(vfio_bus_master_after_write(&command, false),
                  VFIO_BUS_MASTER_UNKNOWN);
    }
    EXPECT_EQ(vfio_bus_master_after_write(nullptr, true), VFIO_BUS_MASTER_OFF);
    EXPECT_EQ(vfio_bus_master_after_write(nullptr, false),
              VFIO_BUS_MASTER_UNKNOWN);
}

/* The C interface */

TEST(DmaLayoutC, MirrorsTheClass)
{
    IommuModel model(IommuKind::kType1v2, 10);
    const DmaLayoutBackend backend = {
        .map =
            [](void *opaque, uint64_t iova, uint64_t size, uint64_t vaddr,
               bool readonly) {
                return static_cast<IommuModel *>(opaque)->map(iova, size, vaddr,
                                                              readonly);
            },
        .unmap =
            [](void *opaque, uint64_t iova, uint64_t size) {
                return static_cast<IommuModel *>(opaque)->unmap(iova, size);
            },
        .entries_left = [](void *opaque) -> uint64_t {
            return *static_cast<IommuModel *>(opaque)->entries_left();
        },
        .event = [](void *, DmaLayoutEvent, uint64_t, uint64_t, uint64_t) {},
    };
    ::DmaLayout *layout = dma_layout_new(&backend, &model);
    DmaLayoutStats stats;
    DmaLayoutExtent extent;

    ASSERT_TRUE(layout);
    EXPECT_EQ(dma_layout_last(layout), 0u);
    EXPECT_FALSE(dma_layout_next_extent(layout, 0, UINT64_MAX, &extent));
    EXPECT_EQ(dma_layout_set_extent_size(layout, 2 * kPage), 0);
    EXPECT_EQ(dma_layout_populate(layout, 0, 8 * kPage, kMiB, kPage, true), 0);
    EXPECT_EQ(dma_layout_populate(layout, 0, kPage, kMiB, kPage, true),
              -EEXIST);
    EXPECT_FALSE(dma_layout_is_open(layout));
    EXPECT_EQ(dma_layout_count_mapped(layout), 0u);
    EXPECT_EQ(dma_layout_open(layout), 0);
    EXPECT_TRUE(dma_layout_is_open(layout));
    EXPECT_EQ(dma_layout_count_mapped(layout), 4u);
    EXPECT_EQ(dma_layout_discard(layout, kPage, kPage), 0);
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
    dma_layout_close(layout);
    EXPECT_FALSE(dma_layout_is_open(layout));
    dma_layout_free(layout);
    dma_layout_free(nullptr);
    EXPECT_EQ(model.mappings().size(), 4u);
}

} // namespace
