/*
 * DmaLayout: the cost of a request does not rise with the shared memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <vector>

#include "tests/gtest/dma-layout-test.h"

namespace {

using shared_dma::IommuKind;
using shared_dma::rig::Rig;
using shared_dma::rig::kGiB;
using shared_dma::rig::kLarge;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;
using shared_dma::rig::kTiB;

/* Calls and bytes mapped in each quarter of a run, per request. */
struct Quarter {
    double maps;
    double unmaps;
    double bytes;
    /* Number of entries at the end of the quarter. */
    uint64_t entries;
};

/* Populate @nrequests of the same size, in turn in each of @nstreams. */
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

/* Each byte is mapped once for each size that blocks grow to. */
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
    /* The first quarter may find entries without merging. */
    EXPECT_LT(quarters[3].maps, 1.1 * quarters[1].maps);
    EXPECT_LT(quarters[3].bytes, 2 * quarters[1].bytes);
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

/* With few entries, blocks of all sizes are merged. */
TEST(DmaLayoutTerabyte, InFewEntries)
{
    Rig rig(IommuKind::kType1v2, 512);

    EXPECT_EQ(rig.open(), 0);
    for (const Quarter &quarter :
         run_in_quarters(rig, 16 * kGiB / kLarge, kLarge, 4)) {
        EXPECT_LT(quarter.unmaps, 0.6);
        EXPECT_LT(quarter.bytes, 8);
    }
}

/* Mappings of small requests are never disturbed, so they can run out. */
TEST(DmaLayoutTerabyte, FourGibibytesInPages)
{
    Rig rig;
    uint64_t n = 0;

    EXPECT_EQ(rig.open(), 0);

    const uint64_t entries = rig.stats().entries_left;

    rig.check_seldom();
    while (n < 4 * kGiB / kPage && !rig.populate(n * kPage, kPage)) {
        n++;
    }
    EXPECT_EQ(n, entries);
    for (uint64_t i = 0; i < 1000; i++) {
        EXPECT_EQ(rig.populate((n + i) * kPage, kPage), -ENOSPC);
    }
    EXPECT_EQ(rig.nmaps(), entries);
    EXPECT_EQ(rig.nunmaps(), 0u);
    rig.check(true);
}

/* If the kernel has no limit, not even very many extents are merged. */
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

} // namespace
