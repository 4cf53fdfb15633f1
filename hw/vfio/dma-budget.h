/*
 * The number of extents that a container may have, and the size of new ones
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The kernel limits the number of mappings, its entries.  Some of them are
 * reserved for splits.  As the others are used up, the pressure rises by one
 * level each time that the number of those left halves.  New extents end at
 * the boundaries of blocks, which grow by a factor of 16 with each level; those
 * that exist are not changed.
 *
 * If mappings can be cut, neither their number nor their size matters.
 *
 * A DmaBudget is a plain value.  @used is the number of extents there are.
 */

#ifndef HW_VFIO_DMA_BUDGET_H
#define HW_VFIO_DMA_BUDGET_H

#include <algorithm>
#include <cstdint>

#include "dma-extent-map.h"

extern "C" {
#include "hw/vfio/dma-layout-c.h"
}

namespace shared_dma {

class DmaBudget {
public:
    /* Size of a superpage of an IOMMU. */
    static constexpr uint64_t kBlock = UINT64_C(2) << 20;
    /* Size of the largest superpage. */
    static constexpr uint64_t kLargeBlock = UINT64_C(1) << 30;
    /*
     * Entries that are reserved for splits.  One split takes at most as many
     * as the size of an extent has bits.
     */
    static constexpr uint64_t kSplitReserve = 64;
    /*
     * Maximum number of extents if the kernel sets no limit.  Each takes 64
     * bytes of QEMU's memory and about 450 of the kernel's, together half a
     * GiB.
     */
    static constexpr uint64_t kMaxExtents = UINT64_C(1) << 20;
    /* Larger than any extent, unless it crosses the middle of all IOVAs */
    static constexpr uint64_t kUncut = UINT64_C(1) << 63;
    /* Number of bits by which block sizes grow with each level of pressure. */
    static constexpr unsigned kGrowthShift = 4;
    /* At this level, a page has grown beyond the largest block. */
    static constexpr unsigned kMaxPressure = 5;

    DmaBudget() { set_limit(kMaxExtents); }

    /* Set the size of extents: DMA_LAYOUT_AUTO, DMA_LAYOUT_PAGE or bytes. */
    void set_extent_size(uint64_t size) { extent_size_ = size; }
    uint64_t extent_size() const { return extent_size_; }

    /* From now on, there may be any number of extents of any size. */
    void set_unlimited()
    {
        is_unlimited_ = true;
        set_limit(DMA_LAYOUT_NO_LIMIT);
    }

    /* Whether each extent is one page, regardless of the pressure. */
    bool is_fixed() const { return extent_size_ == DMA_LAYOUT_PAGE; }

    /* The kernel grants @limit entries, or any number: DMA_LAYOUT_NO_LIMIT. */
    void set_kernel_limit(uint64_t limit)
    {
        if (is_unlimited_) {
            return;
        }
        if (limit == DMA_LAYOUT_NO_LIMIT && !is_fixed()) {
            limit = kMaxExtents;
        }
        set_limit(limit);
    }

    /* Return the maximum number of extents without the reserve for splits. */
    uint64_t limit() const { return limit_; }
    /* Return the maximum number of extents with the reserve. */
    uint64_t hard_limit() const { return hard_limit_; }

    /* Return the number of extents that may be added. */
    uint64_t room(uint64_t used) const
    {
        return used < limit_ ? limit_ - used : 0;
    }

    /*
     * Return the number of extents that one request may add: half of the room,
     * so that there is some for the next one.
     */
    uint64_t share(uint64_t used) const
    {
        const uint64_t left = room(used);

        return is_fixed() ? left : left - left / 2;
    }

    unsigned pressure(uint64_t used) const
    {
        unsigned level = 0;

        if (room(used) >= limit_ / 2 || is_fixed()) {
            return 0;
        }
        while (level < kMaxPressure && room(used) < limit_ >> (level + 1)) {
            level++;
        }
        return level;
    }

    /* Return the size of blocks, in bytes. */
    uint64_t block_size(uint64_t used) const
    {
        const uint64_t block =
            extent_size_ == DMA_LAYOUT_AUTO ? kBlock : extent_size_;

        if (is_unlimited_) {
            return kUncut;
        }
        if (is_fixed()) {
            return DmaExtentMap::kPage;
        }
        /* A hole in a larger block would unmap too much. */
        return std::max(block, std::min(block << kGrowthShift * pressure(used),
                                        kLargeBlock));
    }

private:
    void set_limit(uint64_t limit)
    {
        hard_limit_ = limit_ = limit;
        if (!is_fixed() && !is_unlimited_) {
            limit_ -= std::min(kSplitReserve, limit / 4);
        }
    }

    uint64_t extent_size_ = DMA_LAYOUT_AUTO;
    bool is_unlimited_ = false;
    uint64_t limit_;
    uint64_t hard_limit_;
};

} // namespace shared_dma

#endif
