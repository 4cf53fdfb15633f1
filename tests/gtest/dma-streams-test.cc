/*
 * DmaStreams: requests that continue earlier ones
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "hw/vfio/dma-streams.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace {

using shared_dma::DmaStreams;

TEST(DmaStreamsTest, TracksTheEndOfTheLastRequest)
{
    DmaStreams streams;

    EXPECT_FALSE(streams.add(0x1000, 0x2000));
    EXPECT_TRUE(streams.add(0x2000, 0x5000));
    EXPECT_FALSE(streams.add(0x2000, 0x3000));
    EXPECT_TRUE(streams.add(0x5000, 0x6000));
    EXPECT_TRUE(streams.add(0x3000, 0x4000));
}

/* A request at address 0 does not continue a stream. */
TEST(DmaStreamsTest, StartsWithoutAny)
{
    DmaStreams streams;

    EXPECT_FALSE(streams.add(0, 0x1000));
}

/* The last page of the address space ends at 0. */
TEST(DmaStreamsTest, ContinuesAtTheBeginningAfterTheEnd)
{
    DmaStreams streams;

    EXPECT_FALSE(streams.add(UINT64_MAX - 0xfff, 0));
    EXPECT_TRUE(streams.add(0, 0x1000));
}

TEST(DmaStreamsTest, ExtendsTheLastOne)
{
    DmaStreams streams;

    streams.add(0x1000, 0x2000);
    streams.add(0x10000, 0x11000);
    streams.extend(0x20000);
    EXPECT_FALSE(streams.add(0x11000, 0x12000));
    EXPECT_TRUE(streams.add(0x20000, 0x21000));
    EXPECT_TRUE(streams.add(0x2000, 0x3000));
    streams.extend(0x8000);
    EXPECT_TRUE(streams.add(0x8000, 0x9000));
}

/* The oldest stream is forgotten first. */
TEST(DmaStreamsTest, ForgetsTheOldest)
{
    DmaStreams streams;
    const auto start = [](uint64_t stream) {
        return stream << 30;
    };
    const uint64_t size = 0x1000;

    for (uint64_t i = 1; i <= DmaStreams::kMaxStreams; i++) {
        EXPECT_FALSE(streams.add(start(i), start(i) + size));
    }
    for (uint64_t i = 1; i <= DmaStreams::kMaxStreams; i++) {
        EXPECT_TRUE(streams.add(start(i) + size, start(i) + 2 * size));
    }
    EXPECT_FALSE(streams.add(start(99), start(99) + size));
    EXPECT_FALSE(streams.add(start(1) + 2 * size, start(1) + 3 * size));
    EXPECT_FALSE(streams.add(start(2) + 2 * size, start(2) + 3 * size));
    EXPECT_TRUE(streams.add(start(99) + size, start(99) + 2 * size));
    EXPECT_TRUE(streams.add(start(8) + 2 * size, start(8) + 3 * size));
}

} // namespace
