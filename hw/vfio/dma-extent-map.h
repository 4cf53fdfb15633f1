/*
 * Extents of DMA mappings, ordered by IOVA
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A DmaExtentMap holds extents and whether they are mapped, and counts them as
 * they change: their number, their sizes, and the places where two could be
 * merged.  It maps nothing itself; hw/vfio/dma-layout.h has the policy.
 *
 * Each change takes O(log n) for n extents, and so does finding one; reading a
 * counter takes constant time.  An extent takes 64 bytes.
 */

#ifndef HW_VFIO_DMA_EXTENT_MAP_H
#define HW_VFIO_DMA_EXTENT_MAP_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "dma-node-pool.h"

extern "C" {
#include "hw/vfio/dma-layout-c.h"
}

namespace shared_dma {

/* A current or future mapping; its IOVA is its key.  Sizes are in bytes. */
struct DmaExtent {
    uint64_t size;
    uint64_t vaddr;
    DmaLayoutAccess access;
    /* Belongs to one large request, or to several, and to nothing else. */
    bool large;
    /* Belongs to the same stream as the extent that ends where it starts. */
    bool joined;
    bool mapped;
};

/* The number of extents of each size */
class DmaExtentSizes {
public:
    void add(uint64_t size);
    void remove(uint64_t size);

    /* Return 0 when there is none. */
    uint64_t largest() const;
    uint64_t smallest() const;
    /* Element i counts sizes s with floor(log2(s)) = i. */
    const std::array<uint64_t, 64> &by_order() const { return by_order_; }

    bool operator==(const DmaExtentSizes &) const = default;

private:
    std::map<uint64_t, uint64_t> counts_;
    std::array<uint64_t, 64> by_order_ = {};
};

class DmaExtentMap {
public:
    using Extents =
        std::map<uint64_t, DmaExtent, std::less<uint64_t>,
                 DmaNodeAllocator<std::pair<const uint64_t, DmaExtent>>>;
    using Entry = Extents::value_type;
    /* Valid until its extent is erased.  Extents change by functions only. */
    using Iterator = Extents::const_iterator;

    static constexpr uint64_t kPage = 4096;

    /* The last byte of an extent, inclusive. */
    static uint64_t last_of(const Entry &entry)
    {
        return entry.first + (entry.second.size - 1);
    }

    /*
     * Whether @extent at @iova may become a single mapping with @before.  Once
     * they are mapped, small requests stay what they are: the guest uses them,
     * and takes them back, one by one.
     */
    static bool can_join(const Entry &before, uint64_t iova,
                         const DmaExtent &extent)
    {
        const DmaExtent &other = before.second;

        return before.first + other.size == iova &&
               other.vaddr + other.size == extent.vaddr &&
               other.access == extent.access && other.mapped == extent.mapped &&
               (!extent.mapped || (extent.large && other.large));
    }

    Iterator begin() const { return extents_.begin(); }
    Iterator end() const { return extents_.end(); }
    bool empty() const { return extents_.empty(); }
    uint64_t size() const { return extents_.size(); }

    /* Return the extent that starts at @iova; there must be one. */
    const DmaExtent &at(uint64_t iova) const { return extents_.at(iova); }
    /* Find the first extent that ends at @iova or later. */
    Iterator find(uint64_t iova) const;
    /* Find the first extent that starts at @iova or later. */
    Iterator lower_bound(uint64_t iova) const
    {
        return extents_.lower_bound(iova);
    }
    /* Find the first extent that starts after @iova. */
    Iterator upper_bound(uint64_t iova) const
    {
        return extents_.upper_bound(iova);
    }

    /* Add an extent where there is none. */
    Iterator insert(uint64_t iova, const DmaExtent &extent)
    {
        return insert_before(extents_.lower_bound(iova), iova, extent);
    }
    /* Add an extent in front of @after, the first one that starts after it. */
    Iterator insert_before(Iterator after, uint64_t iova,
                           const DmaExtent &extent);
    /* Remove an extent; returns the next one. */
    Iterator erase(Iterator it);

    void mark_mapped(Iterator it) { set_mapped(it, true); }
    void mark_unmapped(Iterator it) { set_mapped(it, false); }
    /* An extent no longer belongs to the stream of the one before it. */
    void separate(Iterator it);

    /*
     * Make an extent that is not mapped longer by @more bytes, up to the next
     * extent at most.  Growing the same one over and over takes constant time.
     */
    void grow(Iterator it, uint64_t more)
    {
        if (!growing_ || growing_->iova != it->first) {
            start_growing(it);
        }

        DmaExtent &extent = change(it);

        extent.size += more;
        growing_->size = extent.size;
        total_size_ += more;
        if (more && it->first + extent.size == growing_->max_end) {
            nseams_[false] += is_seam(std::next(it));
        }
    }
    /* Divide an extent after @size bytes.  Returns the second part. */
    Iterator divide(Iterator it, uint64_t size);
    /*
     * Replace the extents from @first to before @end, none of which is mapped
     * and between which there are only seams, by one, which is returned.  It is
     * large if all of them are.
     */
    Iterator join(Iterator first, Iterator end);

    /* Whether an extent and the one before it may become a single mapping. */
    bool is_seam(Iterator it) const;
    /* Return the number of seams between mapped, or unmapped, extents. */
    uint64_t nseams(bool mapped) const { return nseams_[mapped]; }

    uint64_t nmapped() const { return nmapped_; }
    uint64_t mapped_size() const { return mapped_size_; }
    uint64_t total_size() const { return total_size_; }

    /* Sizes of the extents; 0 when there is none. */
    uint64_t largest() const;
    uint64_t smallest() const;
    /* Element i counts sizes s with floor(log2(s)) = i. */
    void count_by_order(std::span<uint64_t, 64> counts) const;

    /*
     * Check all counters.  Returns a description of the first error, or null.
     * Takes O(n), for tests.
     */
    const char *broken_invariant() const;

private:
    DmaExtent &change(Iterator it)
    {
        /* Erases nothing: this is how to get an iterator that can change it. */
        return extents_.erase(it, it)->second;
    }
    void start_growing(Iterator it);
    void set_mapped(Iterator it, bool mapped);
    void count_mapped(const DmaExtent &extent, bool mapped);
    void settle();

    Extents extents_;

    /* Sizes of all extents except growing_. */
    DmaExtentSizes sizes_;
    struct Growing {
        uint64_t iova;
        uint64_t size;
        /* Where the next extent starts, or the end of the address space. */
        uint64_t max_end;
    };
    std::optional<Growing> growing_;

    /* Indexed by whether the extents on both sides are mapped. */
    std::array<uint64_t, 2> nseams_ = {};
    uint64_t nmapped_ = 0;
    uint64_t mapped_size_ = 0;
    uint64_t total_size_ = 0;
};

} // namespace shared_dma

#endif
