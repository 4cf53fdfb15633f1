/*
 * Populated memory: IOVA ranges and their properties
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_MODEL_POPULATED_H
#define TESTS_MODEL_POPULATED_H

#include <cstdint>
#include <map>

#include "hw/vfio/dma-layout.h"

namespace shared_dma::rig {

constexpr uint64_t kPage = DmaLayout::kPage;
constexpr uint64_t kKiB = UINT64_C(1) << 10;
constexpr uint64_t kMiB = UINT64_C(1) << 20;
constexpr uint64_t kGiB = UINT64_C(1) << 30;
constexpr uint64_t kTiB = UINT64_C(1) << 40;
/* Size of the smallest large request */
constexpr uint64_t kLarge = DmaStreams::kMinSize;

/* Properties of memory, except its IOVA */
struct Memory {
    /* Difference between the address in QEMU and the IOVA */
    uint64_t offset = UINT64_C(0x7f0000000000);
    DmaLayoutAccess access = DMA_LAYOUT_READ_WRITE;

    bool operator==(const Memory &) const = default;
};

/* Populated ranges; neighbours with the same properties are joined. */
class Populated {
public:
    struct Range {
        uint64_t last;
        Memory memory;
    };
    using Ranges = std::map<uint64_t, Range>;

    bool overlaps(uint64_t iova, uint64_t last) const;

    /* Return how many bytes of a range are populated. */
    uint64_t count(uint64_t iova, uint64_t last) const;

    /* Add a range, no part of which may be populated. */
    void add(uint64_t iova, uint64_t last, const Memory &memory);

    void remove(uint64_t iova, uint64_t last);

    const Ranges &ranges() const { return ranges_; }
    uint64_t size() const { return size_; }

private:
    void join(Ranges::iterator it);

    Ranges ranges_;
    uint64_t size_ = 0;
};

} // namespace shared_dma::rig

#endif
