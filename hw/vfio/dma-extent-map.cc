/*
 * Extents of DMA mappings, ordered by IOVA
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "dma-extent-map.h"

#include <algorithm>
#include <bit>
#include <iterator>

namespace shared_dma {

namespace {

/* floor(log2(@size)) */
unsigned order_of(uint64_t size)
{
    return std::bit_width(size >> 1);
}

} // namespace

void DmaExtentSizes::add(uint64_t size)
{
    const auto first = counts_.begin();

    /* Most extents are single pages. */
    if (first != counts_.end() && first->first == size) {
        first->second++;
    } else {
        counts_[size]++;
    }
    by_order_[order_of(size)]++;
}

void DmaExtentSizes::remove(uint64_t size)
{
    const auto it = counts_.find(size);

    if (!--it->second) {
        counts_.erase(it);
    }
    by_order_[order_of(size)]--;
}

uint64_t DmaExtentSizes::largest() const
{
    return counts_.empty() ? 0 : counts_.rbegin()->first;
}

uint64_t DmaExtentSizes::smallest() const
{
    return counts_.empty() ? 0 : counts_.begin()->first;
}

DmaExtentMap::Iterator DmaExtentMap::find(uint64_t iova) const
{
    const Iterator it = extents_.upper_bound(iova);

    if (it != extents_.begin() && last_of(*std::prev(it)) >= iova) {
        return std::prev(it);
    }
    return it;
}

bool DmaExtentMap::is_seam(Iterator it) const
{
    return it != extents_.begin() && it != extents_.end() &&
           can_join(*std::prev(it), it->first, it->second);
}

void DmaExtentMap::count_mapped(const DmaExtent &extent, bool mapped)
{
    if (mapped) {
        nmapped_++;
        mapped_size_ += extent.size;
    } else {
        nmapped_--;
        mapped_size_ -= extent.size;
    }
}

DmaExtentMap::Iterator DmaExtentMap::insert_before(Iterator after,
                                                   uint64_t iova,
                                                   const DmaExtent &extent)
{
    const Iterator it = extents_.emplace_hint(after, iova, extent);

    settle();
    sizes_.add(extent.size);
    total_size_ += extent.size;
    if (extent.mapped) {
        count_mapped(extent, true);
    }
    nseams_[extent.mapped] += is_seam(it);
    nseams_[extent.mapped] +=
        after != extents_.end() && can_join(*it, after->first, after->second);
    return it;
}

DmaExtentMap::Iterator DmaExtentMap::erase(Iterator it)
{
    const Entry gone = *it;

    settle();
    nseams_[gone.second.mapped] -= is_seam(it);
    sizes_.remove(gone.second.size);
    total_size_ -= gone.second.size;
    if (gone.second.mapped) {
        count_mapped(gone.second, false);
    }
    it = extents_.erase(it);
    nseams_[gone.second.mapped] -=
        it != extents_.end() && can_join(gone, it->first, it->second);
    return it;
}

void DmaExtentMap::set_mapped(Iterator it, bool mapped)
{
    nseams_[!mapped] -= is_seam(it) + is_seam(std::next(it));
    change(it).mapped = mapped;
    nseams_[mapped] += is_seam(it) + is_seam(std::next(it));
    count_mapped(it->second, mapped);
}

void DmaExtentMap::separate(Iterator it)
{
    change(it).joined = false;
}

/* Count the extent that was grown last among the others again. */
void DmaExtentMap::settle()
{
    if (growing_) {
        sizes_.add(growing_->size);
        growing_.reset();
    }
}

/* Take an extent, whose size is about to change, out of the sizes. */
void DmaExtentMap::start_growing(Iterator it)
{
    const Iterator next = std::next(it);

    settle();
    sizes_.remove(it->second.size);
    growing_ = {it->first, it->second.size,
                next == end() ? UINT64_MAX : next->first};
}

DmaExtentMap::Iterator DmaExtentMap::divide(Iterator it, uint64_t size)
{
    const uint64_t iova = it->first;
    DmaExtent front = it->second;
    DmaExtent back = it->second;

    front.size = size;
    back.size -= size;
    back.vaddr += size;
    back.joined = it->second.large;
    erase(it);
    insert(iova, front);
    return insert(iova + size, back);
}

DmaExtentMap::Iterator DmaExtentMap::join(Iterator first, Iterator end)
{
    const uint64_t iova = first->first;
    DmaExtent joined = first->second;

    joined.size = last_of(*std::prev(end)) - iova + 1;
    while (first != end) {
        joined.large &= first->second.large;
        first = erase(first);
    }
    return insert(iova, joined);
}

uint64_t DmaExtentMap::largest() const
{
    return std::max(sizes_.largest(), growing_ ? growing_->size : 0);
}

uint64_t DmaExtentMap::smallest() const
{
    const uint64_t smallest = sizes_.smallest();

    if (!growing_) {
        return smallest;
    }
    return smallest ? std::min(smallest, growing_->size) : growing_->size;
}

void DmaExtentMap::count_by_order(std::span<uint64_t, 64> counts) const
{
    std::ranges::copy(sizes_.by_order(), counts.begin());
    if (growing_) {
        counts[order_of(growing_->size)]++;
    }
}

const char *DmaExtentMap::broken_invariant() const
{
    uint64_t nmapped = 0;
    std::array<uint64_t, 2> nseams = {};
    uint64_t mapped_size = 0;
    uint64_t total_size = 0;
    DmaExtentSizes sizes;

    for (Iterator it = begin(); it != end(); ++it) {
        const DmaExtent &extent = it->second;

        if (!extent.size || (it->first | extent.size) % kPage) {
            return "an extent is empty or not made of pages";
        }
        if (last_of(*it) < it->first) {
            return "an extent wraps";
        }
        if (it != begin() && last_of(*std::prev(it)) >= it->first) {
            return "extents overlap";
        }
        nmapped += extent.mapped;
        nseams[extent.mapped] += is_seam(it);
        mapped_size += extent.mapped ? extent.size : 0;
        total_size += extent.size;
        sizes.add(extent.size);
    }
    if (growing_) {
        const auto it = extents_.find(growing_->iova);

        if (it == extents_.end() || it->second.size != growing_->size) {
            return "the extent that was grown last is not there";
        }
        sizes.remove(growing_->size);
    }
    if (nmapped != nmapped_ || nseams != nseams_ ||
        mapped_size != mapped_size_ || total_size != total_size_ ||
        sizes != sizes_) {
        return "a counter is wrong";
    }
    return nullptr;
}

} // namespace shared_dma
