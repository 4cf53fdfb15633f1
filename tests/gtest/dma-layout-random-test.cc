/*
 * A DmaLayout keeps its invariants in random steps
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "tests/gtest/dma-layout-test.h"

namespace {

using shared_dma::IommuKind;
using shared_dma::rig::Memory;
using shared_dma::rig::Rig;
using shared_dma::rig::kGiB;
using shared_dma::rig::kKiB;
using shared_dma::rig::kMiB;
using shared_dma::rig::kPage;
using shared_dma::rig::kTiB;

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

} // namespace
