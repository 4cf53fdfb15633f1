/*
 * The IOMMU mappings of a container's populated memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * VFIO is notified when memory is populated and discarded, that is, when a
 * guest shares pages and makes them private again.  The kernel maps ranges of
 * pages.  A DmaLayout decides which ranges are mapped.
 *
 * Populated memory is kept as extents, ordered by IOVA.  An extent is one
 * mapping, contiguous in IOVA and in QEMU's memory:
 *
 *     blocks      |         |         |         |         |
 *     populated    ######################    ##  ####
 *     extents     [--------][---------][-]   []  [-][]
 *                     A          B      C     D   E  F
 *
 * Cuts.  If the kernel can cut a mapping in place, as iommufd can, a populated
 * range becomes one extent, and a discard is one call that unmaps the range and
 * nothing else.  There are as many extents as the guest makes ranges: blocks,
 * streams, the budget and merging have no meaning then, and an extent is split
 * only if the kernel fails to cut it.
 *
 * Otherwise, as with type1, the kernel counts each mapping as an entry, grants
 * 65535 entries by default, and unmaps a mapping only as a whole:
 *
 * Blocks.  A request to populate becomes extents that end at the boundaries of
 * blocks, 2 MiB by default.  Requests stay separate (E and F), because the
 * guest will probably discard them separately.  Large requests that start where
 * one of the last large ones ended form a stream; each extent of a stream is
 * marked as joined to the one before.
 *
 * Split.  A discard unmaps all extents that the range overlaps, in one call.
 * The rest of the first and of the last one is mapped again, as blocks of
 * powers of two that get smaller towards the hole, so that the next hole nearby
 * unmaps little.  In between, devices cannot access the rest.
 *
 *     discard             ##
 *     before      [----------------]
 *     after       [------)[]  [][--]
 *
 * Gate.  As long as no device of the container can do DMA, extents are only
 * recorded, without calls to the kernel.  Those of a stream, or all neighbours
 * if mappings can be cut, become one extent in each block.  Opening the gate
 * maps all of them.  Closing it unmaps nothing, but while it is closed a
 * discard need not map the rest again.
 *
 * Budget.  A request becomes at most half as many extents as there are entries
 * left.  Blocks grow by a factor of 16 when half of the entries are used, and
 * again at three quarters, up to 1 GiB; extents that exist are not changed.
 * When no entry is left, adjacent extents of large requests are merged, first
 * those of a stream, and first within small blocks.  Small requests are never
 * disturbed: they are merged only if they are not mapped yet.  A request fails
 * if nothing can be merged.
 *
 * A discard never fails for lack of entries, because some are reserved for
 * splits.  If the rest of an extent cannot be mapped nevertheless, it is
 * missing: counted, reported, and tried again whenever the layout changes.
 *
 * Opening the gate fails for lack of entries or memory, and then maps nothing.
 * Memory that the kernel refuses to map for another reason, such as an address
 * beyond the IOMMU's width or memory that cannot be pinned, is missing and does
 * not prevent other memory from being mapped: an extent that contains such
 * memory is cut around it, as precisely as 1024 calls allow, together with the
 * rest of its stream, whose mapped parts can then be larger than a block.  It
 * is tried again immediately, and then after 1, 2, 4 and so on changes of the
 * layout, at most 65536, even if the gate closes and opens in between.
 *
 * If the kernel fails to unmap a range, which it never should, the range is
 * stuck: discarded, but still mapped, and kept in extents_.  Unmapping it is
 * tried again before any other change.  As long as something is stuck, it
 * cannot be populated, mapped extents are not merged, and the gate does not
 * open.
 *
 * Invariants, whenever no function of the layout is running:
 *  - the extents are exactly the populated and the stuck memory, and do not
 *    overlap
 *  - the extents that are marked as mapped are those that the kernel has mapped
 *  - while the gate is open, all extents except missing ones are mapped
 *  - before the gate is opened for the first time, none is mapped
 *  - a mapped extent that holds a small request holds nothing else, unless the
 *    recorded requests did not fit; with cuts it can hold other requests
 *  - extents of a page's size are never split or merged
 *
 * Cost, with n extents: O(log n) for a request, and for each extent that it
 * adds or removes; O(n) for a request that finds no entry left, and for opening
 * the gate.  An extent takes 64 bytes.  If the kernel sets no limit, the
 * layout limits itself to 1048576 extents, except that there are as many
 * extents of a page's size, which users must ask for, as there are pages.
 *
 * RamDiscardManager (exec/memory.h) defines populate and discard.  A layout is
 * not locked: its owner serializes access.
 */

#ifndef HW_VFIO_DMA_LAYOUT_H
#define HW_VFIO_DMA_LAYOUT_H

#include <cstdint>
#include <optional>

#include "dma-budget.h"
#include "dma-extent-map.h"
#include "dma-missing.h"
#include "dma-streams.h"
#include "dma-stuck.h"

extern "C" {
#include "hw/vfio/dma-layout-c.h"
}

namespace shared_dma {

/* The functions are documented with the C interface, dma-layout-c.h. */
class DmaLayout {
public:
    static constexpr uint64_t kPage = DmaExtentMap::kPage;

    DmaLayout(const DmaLayoutBackend &backend, void *opaque);

    void use_cuts();
    bool uses_cuts() const { return uses_cuts_; }
    int set_extent_size(uint64_t extent_size);

    int populate(uint64_t iova, uint64_t size, uint64_t vaddr,
                 DmaLayoutAccess access);
    int discard(uint64_t iova, uint64_t size);

    int open();
    void close();
    bool is_open() const { return gate_ == DMA_LAYOUT_OPEN; }

    DmaLayoutStats stats() const;
    const DmaExtentMap &extents() const { return extents_; }

    /*
     * Check all invariants.  Returns a description of the first one that does
     * not hold, or null.  Takes O(n), for tests.
     */
    const char *broken_invariant() const;

    DmaLayout(const DmaLayout &) = delete;
    DmaLayout &operator=(const DmaLayout &) = delete;

private:
    /* Number of entries to gain in one request when none are left. */
    static constexpr uint64_t kMergeBatch = 64;

    using Iterator = DmaExtentMap::Iterator;

    /* The extents to merge, see merge_some(). */
    struct MergeRule {
        /* Merge only within blocks of this size... */
        uint64_t block;
        /* ...only within streams, or anywhere... */
        bool joined_only;
        /* ...and either mapped or unmapped extents. */
        bool mapped;
    };
    /* The extents that merge_some() may merge */
    enum class Merging {
        kUnmapped,
        kMapped
    };
    /* How to cut the rest of an extent. */
    enum class Pieces {
        kOne,
        kPowersOfTwo
    };
    /* The last extent of the last request */
    struct Tail {
        Iterator it;
        /* How far it can grow in place, if it is not mapped */
        uint64_t max_last;
        /* How far there is nothing else */
        uint64_t free_last;
    };

    /* Backend */
    int map(uint64_t iova, const DmaExtent &extent);
    int map_or_make_room(uint64_t iova, const DmaExtent &extent);
    int unmap(uint64_t iova, uint64_t last);
    int unmap_extents(Iterator begin, Iterator end);
    int cut(uint64_t iova, uint64_t last);
    void event(DmaLayoutEvent event, uint64_t iova, uint64_t size,
               uint64_t count);

    /* Budget */
    void ask_for_limit();
    uint64_t room() const { return budget_.room(extents_.size()); }
    uint64_t block_size() const { return budget_.block_size(extents_.size()); }
    void report_pressure()
    {
        const unsigned level = budget_.pressure(extents_.size());

        if (level != reported_pressure_) {
            report_pressure(level);
        }
    }
    void report_pressure(unsigned level);

    /* Missing extents */
    Iterator erase(Iterator it);
    void set_missing(Iterator it, int err);
    int retry(Iterator it);
    void retry_missing();

    /* Merging, in dma-layout-merge.cc */
    uint64_t merge(Iterator first, Iterator end);
    void map_again(Iterator first, Iterator end);
    Iterator end_of_run(Iterator first, const MergeRule &rule,
                        uint64_t max) const;
    bool merge_round(const MergeRule &rule, uint64_t todo, uint64_t wanted,
                     uint64_t *gained);
    uint64_t merge_some(uint64_t wanted, Merging merging);
    void make_room(uint64_t wanted);

    /* Populating */
    bool may_extend(const DmaExtent &before, const DmaExtent &like) const;
    bool extend_tail(uint64_t iova, const DmaExtent &like);
    bool follows_tail(uint64_t iova, uint64_t last) const;
    bool may_append(uint64_t iova, const DmaExtent &like) const;
    int append(uint64_t iova, DmaExtent like);
    void set_tail(Iterator it, uint64_t block);
    uint64_t extend(Iterator it, uint64_t size, uint64_t block);
    int add_one(uint64_t iova, DmaExtent extent, Iterator &it);
    int add(uint64_t iova, uint64_t last, const DmaExtent &like, uint64_t max,
            Iterator &it);
    int add_request(uint64_t iova, uint64_t last, DmaExtent like,
                    Iterator after, uint64_t block);
    int populate_anywhere(uint64_t iova, const DmaExtent &like);

    /* Discarding */
    void remap(uint64_t iova, uint64_t last, const DmaExtent &like,
               uint64_t like_iova, Pieces pieces);
    void erase_unmapped(Iterator first, Iterator end);
    int split_range(uint64_t iova, uint64_t last);
    int remove_range(uint64_t iova, uint64_t last);
    int discard_range(uint64_t iova, uint64_t last);

    /* Discarding by cuts, in dma-layout-cut.cc */
    void divide_at(uint64_t iova);
    int cut_range(uint64_t iova, uint64_t last);
    void join_neighbours();

    /* Stuck ranges */
    void set_stuck(uint64_t iova, uint64_t last, int err);
    bool is_mapped(uint64_t iova) const;
    void retry_stuck();

    /* Opening the gate, in dma-layout-open.cc */
    Iterator divide(Iterator it, uint64_t size);
    int map_front(Iterator &it, uint64_t size);
    int skip_refused(Iterator &it, int &err, unsigned &nprobes);
    int map_parts(Iterator &it, int err, unsigned &nprobes);
    Iterator join_stream(Iterator it);
    int map_extent(Iterator &it, unsigned &nprobes);
    int map_all();
    int try_open();

    DmaLayoutBackend backend_;
    void *opaque_;

    DmaExtentMap extents_;
    DmaBudget budget_;
    DmaStreams streams_;
    DmaMissing missing_;
    DmaStuck stuck_;

    bool uses_cuts_ = false;
    DmaLayoutGate gate_ = DMA_LAYOUT_CLOSED;
    bool was_open_ = false;
    unsigned reported_pressure_ = 0;
    std::optional<Tail> tail_;
    /* Where the search for extents to merge continues. */
    uint64_t merge_hand_ = 0;

    uint64_t map_calls_ = 0;
    uint64_t unmap_calls_ = 0;
    uint64_t cuts_ = 0;
    uint64_t splits_ = 0;
    uint64_t merges_ = 0;
    uint64_t failures_ = 0;
};

} // namespace shared_dma

#endif
