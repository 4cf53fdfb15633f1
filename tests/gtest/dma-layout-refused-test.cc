/*
 * DmaLayout: extents that the kernel refuses for reasons other than a shortage
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <vector>

#include "tests/gtest/dma-layout-test.h"

namespace {

using shared_dma::DmaLayoutOf;
using shared_dma::IommuKind;
using shared_dma::rig::Event;
using shared_dma::rig::Memory;
using shared_dma::rig::Rig;
using shared_dma::rig::kGiB;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;
using shared_dma::rig::kTiB;

/* Range of the interrupt controllers of an x86 host, which is never mapped. */
constexpr uint64_t kReserved = 0xfee00000;
constexpr uint64_t kReservedSize = kMiB;

/* Only memory at addresses that the IOMMU does not support is missing. */
TEST_P(DmaLayoutOf, OpenMapsAllExceptRefusedExtents)
{
    EXPECT_EQ(rig.populate(0, kPage), 0);
    EXPECT_EQ(rig.populate(UINT64_C(1) << 48, 3 * kPage), 0);
    EXPECT_EQ(rig.populate(kTiB, 8 * kMiB), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_EQ(rig.extents(),
              "0+1 268435456+512 268435968+512 268436480+512 268436992+512 "
              "68719476736+3");
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

/* An extent is cut around the part that cannot be mapped. */
TEST_P(DmaLayoutOf, OpenCutsAroundRefusedMemory)
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

        /* A discarded page is not missing. */
        EXPECT_EQ(fresh.discard(bad * kPage, kPage), 0);
        EXPECT_EQ(fresh.stats().missing_size, 0u);
        EXPECT_EQ(fresh.stats().splits, 0u);
    }
}

/* A file system that is too small for the memory in it. */
TEST_P(DmaLayoutOf, OpenMissesTheRestOfTheMemory)
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

/* The number of failed calls is bounded, even if many pages are refused. */
TEST_P(DmaLayoutOf, OpenMakesABoundedNumberOfCalls)
{
    constexpr uint64_t kPieces = 4096;

    for (uint64_t i = 0; i < kPieces; i++) {
        rig.model().add_memory(Memory().offset + 2 * i * kPage, kPage, true);
    }
    EXPECT_EQ(rig.populate(0, 2 * kPieces * kPage), 0);
    EXPECT_EQ(rig.open(), 0);
    EXPECT_GT(rig.stats().mapped_size, 0u);
    EXPECT_LE(rig.stats().failures, 1050u);

    /* The search is not repeated each time a guest opens the gate. */
    const uint64_t failures = rig.stats().failures;
    const uint64_t refused = rig.size() - rig.layout().extents().nmapped();

    for (int i = 0; i < 1000; i++) {
        rig.close();
        EXPECT_EQ(rig.open(), 0);
    }
    EXPECT_LE(rig.stats().failures - failures, 11 * refused);
}

/* Nothing is cut if a call fails only once, or if there are no entries. */
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

/* A resource runs out while the refused part of an extent is searched for. */
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
    ADD_FAILURE() << "opening still failed with the last call number";
}

/* Refused extents are tried less and less often, but are finally mapped. */
TEST_P(DmaLayoutOf, RefusedExtentsAreTriedLessOften)
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

    /* The number of changes between two attempts doubles. */
    rig.refuse_maps(0, 0, 0);
    for (int i = 0; i < 5000 && rig.stats().missing_size; i++) {
        EXPECT_EQ(rig.discard(kGiB, kPage), 0);
    }
    EXPECT_EQ(rig.stats().missing_size, 0u);
    EXPECT_EQ(rig.count_events(DMA_LAYOUT_RECOVERED), 2u);
}

/* Refused extents do not delay those that failed for lack of resources. */
TEST_P(DmaLayoutOf, RefusedExtentsDoNotDelayOthers)
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

/* Memory that is populated next to a refused extent is tried separately. */
TEST_P(DmaLayoutOf, RefusedExtentsDoNotGrow)
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

} // namespace
