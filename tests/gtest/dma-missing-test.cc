/*
 * DmaMissing and DmaStuck: extents that could not be mapped or unmapped, and
 * when to try again
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "hw/vfio/dma-missing.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <iterator>
#include <optional>

#include "hw/vfio/dma-stuck.h"

namespace {

using shared_dma::DmaMissing;
using shared_dma::DmaStuck;

constexpr uint64_t kA = 0x1000;
constexpr uint64_t kB = 0x5000;
constexpr uint64_t kC = 0x9000;

class DmaMissingTest : public testing::Test {
protected:
    ~DmaMissingTest() override
    {
        EXPECT_STREQ(missing.broken_invariant(), nullptr);
    }

    DmaMissing missing;
};

TEST_F(DmaMissingTest, DistinguishesShortagesFromRefusals)
{
    EXPECT_TRUE(DmaMissing::is_shortage(-ENOSPC));
    EXPECT_TRUE(DmaMissing::is_shortage(-ENOMEM));
    EXPECT_FALSE(DmaMissing::is_shortage(-EINVAL));
    EXPECT_FALSE(DmaMissing::is_shortage(0));

    missing.add(kA, -ENOSPC);
    missing.add(kB, -EINVAL);
    missing.add(kC, 0);
    EXPECT_TRUE(missing.is_short(kA));
    EXPECT_FALSE(missing.is_refused(kA));
    EXPECT_TRUE(missing.is_refused(kB));
    EXPECT_FALSE(missing.is_short(kB));
    EXPECT_TRUE(missing.is_short(kC));
    EXPECT_EQ(missing.nshort(), 2u);
    EXPECT_EQ(missing.nrefused(), 1u);
}

TEST_F(DmaMissingTest, ExtentsWithShortagesTakeTurns)
{
    EXPECT_EQ(missing.next_short(), std::nullopt);
    for (uint64_t iova : {kB, kA, kC}) {
        missing.add(iova, -ENOMEM);
    }
    EXPECT_EQ(missing.next_short(), kA);
    EXPECT_EQ(missing.next_short(), kB);
    missing.remove(kC);
    EXPECT_EQ(missing.next_short(), kA);
    missing.failed_again(kA, -ENOSPC);
    EXPECT_TRUE(missing.is_short(kA));
    EXPECT_EQ(missing.next_short(), kB);
}

/* Immediately, then after 1, 2, 4 changes and so on, up to a maximum. */
TEST_F(DmaMissingTest, RefusedExtentsAreTriedLessAndLessOften)
{
    uint64_t delay = 1;

    missing.add(kA, -EINVAL);
    EXPECT_FALSE(missing.is_put_off(kA));
    EXPECT_EQ(missing.next_due(), kA);
    for (unsigned i = 0; i < 20; i++) {
        missing.failed_again(kA, -EINVAL);
        for (uint64_t n = 0; n < delay; n++) {
            ASSERT_TRUE(missing.is_put_off(kA));
            ASSERT_EQ(missing.next_due(), std::nullopt);
            missing.count_change();
        }
        ASSERT_FALSE(missing.is_put_off(kA));
        ASSERT_EQ(missing.next_due(), kA);
        delay = delay < DmaMissing::kMaxDelay ? 2 * delay : delay;
    }
    EXPECT_EQ(delay, UINT64_C(65536));
}

/* A shortage does not change the delay of a refused extent. */
TEST_F(DmaMissingTest, ShortageDelaysARefusalByOneChange)
{
    missing.add(kA, -EINVAL);
    missing.failed_again(kA, -EINVAL);
    missing.count_change();
    missing.failed_again(kA, -ENOSPC);
    EXPECT_TRUE(missing.is_refused(kA));
    EXPECT_FALSE(missing.is_short(kA));
    EXPECT_TRUE(missing.is_put_off(kA));
    missing.count_change();
    EXPECT_EQ(missing.next_due(), kA);
    missing.failed_again(kA, -EINVAL);
    missing.count_change();
    EXPECT_TRUE(missing.is_put_off(kA));
    missing.count_change();
    EXPECT_FALSE(missing.is_put_off(kA));
}

TEST_F(DmaMissingTest, RefusedForAnotherReasonThanBefore)
{
    missing.add(kA, -ENOSPC);
    missing.failed_again(kA, -EFAULT);
    EXPECT_FALSE(missing.is_short(kA));
    EXPECT_TRUE(missing.is_refused(kA));
    missing.add(kA, -ENOSPC);
    EXPECT_FALSE(missing.is_short(kA));
    EXPECT_EQ(missing.nrefused(), 1u);
}

TEST_F(DmaMissingTest, LongestDueExtentComesFirst)
{
    missing.add(kC, -EINVAL);
    missing.count_change();
    missing.add(kA, -EINVAL);
    EXPECT_EQ(missing.next_due(), kC);
    missing.failed_again(kC, -EINVAL);
    EXPECT_EQ(missing.next_due(), kA);
    missing.remove(kA);
    EXPECT_EQ(missing.next_due(), std::nullopt);
    EXPECT_EQ(missing.nrefused(), 1u);
    missing.remove(kC);
    EXPECT_FALSE(missing.is_put_off(kC));
}

TEST_F(DmaMissingTest, ForgetsOnlyShortages)
{
    missing.add(kA, -ENOSPC);
    missing.add(kB, -EINVAL);
    missing.clear_short();
    EXPECT_EQ(missing.nshort(), 0u);
    EXPECT_TRUE(missing.is_refused(kB));
}

TEST(DmaStuckTest, OverlapsByTheByte)
{
    DmaStuck stuck;

    EXPECT_TRUE(stuck.empty());
    EXPECT_FALSE(stuck.overlaps(0, UINT64_MAX));
    stuck.add(0x1000, 0x1fff);
    EXPECT_TRUE(stuck.overlaps(0x1fff, 0x2000));
    EXPECT_TRUE(stuck.overlaps(0, 0x1000));
    EXPECT_TRUE(stuck.overlaps(0x1800, 0x1800));
    EXPECT_FALSE(stuck.overlaps(0, 0xfff));
    EXPECT_FALSE(stuck.overlaps(0x2000, 0x3000));
    EXPECT_EQ(stuck.size(), 0x1000u);
}

TEST(DmaStuckTest, RangesThatOverlapBecomeOne)
{
    DmaStuck stuck;

    stuck.add(0x1000, 0x1fff);
    stuck.add(0x5000, 0x5fff);
    stuck.add(0x9000, 0x9fff);
    /* Ranges that only touch stay separate. */
    stuck.add(0x2000, 0x2fff);
    EXPECT_EQ(std::distance(stuck.begin(), stuck.end()), 4);
    stuck.add(0x2800, 0x8fff);
    EXPECT_EQ(std::distance(stuck.begin(), stuck.end()), 3);
    EXPECT_EQ(std::next(stuck.begin())->first, 0x2000u);
    EXPECT_EQ(std::next(stuck.begin())->second, 0x8fffu);
    EXPECT_EQ(stuck.size(), 0x9000u);
    /* A range inside another one changes nothing. */
    stuck.add(0x3000, 0x3fff);
    EXPECT_EQ(stuck.size(), 0x9000u);
    EXPECT_EQ(stuck.erase(stuck.begin())->first, 0x2000u);
}

} // namespace
