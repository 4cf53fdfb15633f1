/*
 * DmaLayout: invariants during random steps
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "tests/gtest/dma-layout-test.h"
#include "tests/model/dma-layout-driver.h"

namespace {

using shared_dma::ByteInput;
using shared_dma::IommuKind;
using shared_dma::rig::DmaLayoutDriver;
using shared_dma::rig::DriverTally;
using shared_dma::rig::Kernel;
using shared_dma::rig::kGiB;
using shared_dma::rig::kKiB;
using shared_dma::rig::kMiB;

uint64_t number_from_environment(const char *name, uint64_t fallback)
{
    const char *text = std::getenv(name);

    return text ? std::strtoull(text, nullptr, 0) : fallback;
}

std::vector<uint8_t> random_bytes(uint64_t seed, uint64_t count)
{
    std::mt19937_64 random(seed);
    std::vector<uint8_t> bytes(count);

    for (uint8_t &byte : bytes) {
        byte = static_cast<uint8_t>(random());
    }
    return bytes;
}

struct RandomParams {
    const char *name;
    IommuKind kind;
    uint32_t limit;
    uint64_t extent_size;
};

void record(const DriverTally &tally)
{
    const auto property = [](const char *name, uint64_t value) {
        testing::Test::RecordProperty(name, std::to_string(value));
    };

    property("steps", tally.steps);
    property("populated", tally.populated);
    property("refused", tally.refused);
    property("discarded", tally.discarded);
    property("stuck", tally.stuck);
    property("opened", tally.opened);
    property("not_opened", tally.not_opened);
    property("with_missing", tally.with_missing);
    property("splits", tally.splits);
    property("merges", tally.merges);
    property("calls", tally.calls);
}

/*
 * Conversions, gate changes and failures in random order, with memory of
 * several kinds side by side.  In every second run, the kernel fails.  Set
 * DMA_LAYOUT_TEST_SEEDS and DMA_LAYOUT_TEST_STEPS for longer runs, and
 * DMA_LAYOUT_TEST_FIRST for another first seed.
 */
class DmaLayoutRandomSteps : public testing::TestWithParam<RandomParams> {};

TEST_P(DmaLayoutRandomSteps, KeepAllInvariants)
{
    const RandomParams &params = GetParam();
    const uint64_t first = number_from_environment("DMA_LAYOUT_TEST_FIRST", 1);
    const uint64_t nseeds =
        number_from_environment("DMA_LAYOUT_TEST_SEEDS", 50);
    const uint64_t nsteps =
        number_from_environment("DMA_LAYOUT_TEST_STEPS", 200);
    DriverTally tally;

    for (uint64_t seed = first; seed < first + nseeds; seed++) {
        const auto bytes =
            random_bytes(seed, nsteps * DmaLayoutDriver::kRecordSize);
        DmaLayoutDriver driver(
            {
                .kind = params.kind,
                .limit = params.limit,
                .extent_size = params.extent_size,
                .section_size = params.extent_size == DMA_LAYOUT_PAGE
                                    ? 2 * kMiB
                                    : 40 * kMiB,
                .kernel = seed % 2 ? Kernel::kUnreliable : Kernel::kReliable,
            },
            tally);

        driver.run(ByteInput(bytes.data(), bytes.size()));
        ASSERT_FALSE(HasFailure()) << "with seed " << seed;
    }
    record(tally);

    EXPECT_GT(tally.populated, 0u);
    EXPECT_GT(tally.discarded, 0u);
    EXPECT_GT(tally.opened, 0u);
    EXPECT_GT(tally.stuck, 0u);
    EXPECT_GT(tally.with_missing, 0u);
    if (params.extent_size != DMA_LAYOUT_PAGE) {
        EXPECT_GT(tally.splits, 0u);
    }
    if (params.kind == IommuKind::kIommufdCut) {
        EXPECT_GT(tally.cuts, tally.splits);
        EXPECT_EQ(tally.merges, 0u);
    }
    if (params.limit < 1000 && params.extent_size != DMA_LAYOUT_PAGE) {
        EXPECT_GT(tally.merges, 0u);
        EXPECT_GT(tally.refused, 0u);
    }
}

constexpr IommuKind kType1v2 = IommuKind::kType1v2;
constexpr IommuKind kIommufd = IommuKind::kIommufd;
constexpr IommuKind kIommufdCut = IommuKind::kIommufdCut;

INSTANTIATE_TEST_SUITE_P(
    Kinds, DmaLayoutRandomSteps,
    testing::Values(
        RandomParams{"auto_5", kType1v2, 5, DMA_LAYOUT_AUTO},
        RandomParams{"auto_20", kType1v2, 20, DMA_LAYOUT_AUTO},
        RandomParams{"auto_70", kType1v2, 70, DMA_LAYOUT_AUTO},
        RandomParams{"auto_300", kType1v2, 300, DMA_LAYOUT_AUTO},
        RandomParams{"auto_default", kType1v2, 65535, DMA_LAYOUT_AUTO},
        RandomParams{"auto_iommufd", kIommufd, 65535, DMA_LAYOUT_AUTO},
        RandomParams{"cut", kIommufdCut, 65535, DMA_LAYOUT_AUTO},
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

} // namespace
