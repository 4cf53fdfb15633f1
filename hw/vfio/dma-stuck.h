/*
 * Discarded ranges that the kernel failed to unmap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_DMA_STUCK_H
#define HW_VFIO_DMA_STUCK_H

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

namespace shared_dma {

/* A set of ranges, given by their first and last byte, inclusive. */
class DmaStuck {
public:
    using Ranges = std::map<uint64_t, uint64_t>;
    using Iterator = Ranges::const_iterator;

    Iterator begin() const { return ranges_.begin(); }
    Iterator end() const { return ranges_.end(); }
    bool empty() const { return ranges_.empty(); }

    /* Whether a part of a range is stuck. */
    bool overlaps(uint64_t iova, uint64_t last) const
    {
        const Iterator after = ranges_.upper_bound(last);

        return after != ranges_.begin() && std::prev(after)->second >= iova;
    }

    /* Add a range, and merge it with those that it overlaps. */
    void add(uint64_t iova, uint64_t last)
    {
        while (overlaps(iova, last)) {
            const Iterator known = std::prev(ranges_.upper_bound(last));

            iova = std::min(iova, known->first);
            last = std::max(last, known->second);
            ranges_.erase(known);
        }
        ranges_.emplace(iova, last);
    }

    /* Remove a range; returns the next one. */
    Iterator erase(Iterator it) { return ranges_.erase(it); }

    /* The size of all ranges, in bytes. */
    uint64_t size() const
    {
        uint64_t size = 0;

        for (const auto &[iova, last] : ranges_) {
            size += last - iova + 1;
        }
        return size;
    }

private:
    Ranges ranges_;
};

} // namespace shared_dma

#endif
