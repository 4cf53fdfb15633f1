/*
 * DmaNodePool and DmaNodeAllocator: reuse of nodes, chunks, and containers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "hw/vfio/dma-node-pool.h"

namespace {

using shared_dma::DmaNodeAllocator;
using shared_dma::DmaNodePool;

constexpr size_t kSize = 64;

using Map = std::map<uint64_t, uint64_t, std::less<uint64_t>,
                     DmaNodeAllocator<std::pair<const uint64_t, uint64_t>>>;

size_t nchunks(const Map &map)
{
    return map.get_allocator().pool()->nchunks();
}

Map filled(uint64_t count)
{
    Map map;

    for (uint64_t i = 0; i < count; i++) {
        map[i] = 2 * i;
    }
    return map;
}

TEST(DmaNodePoolTest, GivesEachNodeItsOwnMemory)
{
    constexpr size_t kCount = 5000;
    DmaNodePool pool;
    std::set<std::byte *> nodes;

    for (size_t i = 0; i < kCount; i++) {
        nodes.insert(static_cast<std::byte *>(pool.get(kSize)));
    }
    ASSERT_EQ(nodes.size(), kCount);
    std::byte *before = nullptr;
    for (std::byte *node : nodes) {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(node) % alignof(max_align_t), 0U);
        if (before) {
            EXPECT_GE(node, before + kSize);
        }
        before = node;
    }
    for (std::byte *node : nodes) {
        pool.put(node, kSize);
    }
}

TEST(DmaNodePoolTest, TakesFewChunks)
{
    DmaNodePool pool;
    std::vector<void *> nodes;

    EXPECT_EQ(pool.nchunks(), 0U);
    for (size_t i = 0; i < 100000; i++) {
        nodes.push_back(pool.get(kSize));
    }
    EXPECT_LE(pool.nchunks(), 110U);
    for (void *node : nodes) {
        pool.put(node, kSize);
    }
}

TEST(DmaNodePoolTest, ReusesNodes)
{
    DmaNodePool pool;
    std::vector<void *> nodes;

    for (size_t i = 0; i < 100; i++) {
        nodes.push_back(pool.get(kSize));
    }

    const size_t nchunks = pool.nchunks();

    for (int round = 0; round < 100; round++) {
        for (size_t i = 1; i < nodes.size(); i++) {
            pool.put(nodes[i], kSize);
        }
        for (size_t i = 1; i < nodes.size(); i++) {
            nodes[i] = pool.get(kSize);
        }
    }
    EXPECT_EQ(pool.nchunks(), nchunks);
    for (void *node : nodes) {
        pool.put(node, kSize);
    }
}

TEST(DmaNodePoolTest, GivesBackAllChunksWithTheLastNode)
{
    DmaNodePool pool;
    std::vector<void *> nodes;

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 1000; i++) {
            nodes.push_back(pool.get(kSize));
        }
        while (nodes.size() > 1) {
            pool.put(nodes.back(), kSize);
            nodes.pop_back();
        }
        EXPECT_GT(pool.nchunks(), 1U);
        pool.put(nodes.back(), kSize);
        nodes.pop_back();
        EXPECT_EQ(pool.nchunks(), 0U);
    }
}

TEST(DmaNodePoolTest, KeepsASingleChunk)
{
    DmaNodePool pool;
    void *node = pool.get(kSize);

    pool.put(node, kSize);
    EXPECT_EQ(pool.nchunks(), 1U);
    EXPECT_EQ(pool.get(kSize), node);
    pool.put(node, kSize);
}

TEST(DmaNodeAllocatorTest, ServesAMap)
{
    Map map = filled(10000);

    for (uint64_t i = 0; i < 10000; i += 2) {
        map.erase(i);
    }
    EXPECT_EQ(map.size(), 5000U);
    EXPECT_EQ(map.at(4999), 9998U);
    map.clear();
    EXPECT_EQ(nchunks(map), 0U);
}

TEST(DmaNodeAllocatorTest, CopiesShareAPool)
{
    const Map map = filled(1000);
    const size_t before = nchunks(map);
    Map copy = map;

    EXPECT_EQ(copy, map);
    EXPECT_EQ(copy.get_allocator(), map.get_allocator());
    EXPECT_GT(nchunks(map), before);
    copy.clear();
    EXPECT_EQ(map.size(), 1000U);
    EXPECT_EQ(map.at(999), 1998U);
}

TEST(DmaNodeAllocatorTest, CopiesOutliveTheOriginal)
{
    Map copy;

    {
        const Map map = filled(1000);

        copy = map;
    }
    copy[1000] = 2000;
    EXPECT_EQ(copy, filled(1001));
}

TEST(DmaNodeAllocatorTest, MapsThatWereMovedFromCanBeUsed)
{
    Map map = filled(1000);
    Map moved = std::move(map);

    map = {};
    map[1] = 2;
    EXPECT_EQ(map.size(), 1U);
    EXPECT_EQ(moved, filled(1000));
    swap(map, moved);
    EXPECT_EQ(moved.size(), 1U);
    EXPECT_EQ(map, filled(1000));
}

} // namespace
