/*
 * Which IOMMU mappings cover the populated memory of a container
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * VFIO hears of memory that is populated and discarded: pages that a guest
 * shares and makes private again.  The kernel maps ranges, counts each as an
 * entry, grants 65535 of them by default, and takes a mapping back as a whole
 * or not at all.  A DmaLayout decides which mappings there are.
 *
 * What is populated is kept as extents, ordered by IOVA.  An extent is one
 * mapping, contiguous in IOVA and in QEMU's memory:
 *
 *     blocks      |         |         |         |         |
 *     populated    ######################    ##  ####
 *     extents     [--------][---------][-]   []  [-][]
 *                     A          B      C     D   E  F
 *
 * Cut.  A populated range becomes extents that end at the borders of blocks,
 * 2 MiB by default.  What a guest asks for apart stays apart (E and F), for it
 * will probably discard it so, unless each request starts where one of the
 * last ended: then they are one stream, and each extent of it is marked as
 * joined to the one before.
 *
 * Split.  A discarded range takes all extents that it touches away, in one
 * call.  What remains of the first and of the last is mapped again, as blocks
 * of powers of two that get smaller towards the hole, so that the next hole
 * nearby takes little away.  In between a device does not reach that memory.
 *
 *     discard             ##
 *     before      [----------------]
 *     after       [------)[]  [][--]
 *
 * Gate.  As long as no device of the container can do DMA, extents are only
 * recorded: cut at 1 GiB, and extended in place by streams, at no cost in the
 * kernel.  Opening the gate maps them all.  Closing it unmaps nothing, but
 * while it is closed a discard need not map again what remains.
 *
 * Budget.  With the entries that are left, block sizes grow: by a factor of 16
 * when half of the entries are used, again at three quarters, but not above
 * 1 GiB; and a stream that has filled such a block has its extents there
 * replaced by one.  When there are none left, neighbouring extents are merged:
 * those of a stream first, and inside of blocks first.  A request then becomes
 * one extent, however large, or part of a neighbour.  Only when there is none
 * does it fail.
 *
 * Taking away never fails for want of entries.  Some are kept for splits.  A
 * remainder that cannot be mapped even so is missing: counted, told, and tried
 * again whenever the layout is changed.
 *
 * Opening the gate fails for want of entries or memory, and then maps nothing.
 * What cannot be mapped for what it is, an address beyond the IOMMU's width or
 * memory that cannot be pinned, is missing and keeps nothing else from being
 * mapped: an extent that has some of it is cut around it, as closely as 1024
 * calls can tell.  It is tried again at once, and then after 1, 2, 4 and so on
 * changes of the layout, at most 65536, whether the gate was closed meanwhile
 * or not.
 *
 * What the kernel does not unmap, which it never should refuse, is stuck:
 * discarded, but mapped still, and kept in extents_.  It is tried again before
 * anything else changes.  As long as something is stuck it cannot be populated
 * again, nothing that is mapped is merged, and the gate does not open.
 *
 * Invariants, whenever no function of the layout is running:
 *  - the extents are what is populated or stuck, no more and no less, and none
 *    overlap
 *  - those that are marked as mapped are what the kernel has
 *  - while the gate is open, all are mapped but those that are missing
 *  - before it is opened for the first time none is mapped
 *  - with extents of a page's size, none is ever split or merged
 *
 * Cost, with n extents: O(log n) for a request, and for each extent that it
 * adds or takes away; O(n) for a request that finds no entry left, and for
 * opening the gate.  An extent takes about 100 bytes.  Where the kernel sets no
 * limit, there are no more than 1048576, and room is made as under its limit;
 * but extents of a page's size, which have to be asked for, are as many as
 * there are pages.
 *
 * The words populate and discard are RamDiscardManager's (exec/memory.h).  A
 * layout is not locked: its owner serializes access.
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
     * Look at everything the layout knows of itself: which invariant does not
     * hold, or null.  O(n), for tests.
     */
    const char *broken_invariant() const;

    DmaLayout(const DmaLayout &) = delete;
    DmaLayout &operator=(const DmaLayout &) = delete;

private:
    /* Larger than any block. */
    static constexpr uint64_t kUncut = UINT64_C(1) << 63;
    /* How many entries to gain at once when there are none left. */
    static constexpr uint64_t kMergeBatch = 64;

    using Iterator = DmaExtentMap::Iterator;

    /* Which extents to merge: see merge_some(). */
    struct MergeRule {
        /* Only within blocks of this size... */
        uint64_t block;
        /* ...only within streams... */
        bool joined_only;
        /* ...and those that are mapped, or those that are not. */
        bool mapped;
    };
    /* How to add what remains of an extent. */
    enum class Pieces {
        kOne,
        kPowersOfTwo
    };
    /* An extent that is not mapped and can grow in place. */
    struct Tail {
        Iterator it;
        uint64_t max_last;
    };

    /* The way to the kernel */
    int map(uint64_t iova, const DmaExtent &extent);
    int map_or_make_room(uint64_t iova, const DmaExtent &extent);
    int unmap(uint64_t iova, uint64_t last);
    int unmap_extents(Iterator begin, Iterator end);
    void event(DmaLayoutEvent event, uint64_t iova, uint64_t size,
               uint64_t count);

    /* Budget */
    void ask_for_limit();
    uint64_t room() const { return budget_.room(extents_.size()); }
    uint64_t block_size() const;
    void report_pressure();

    /* What is missing */
    Iterator erase(Iterator it);
    void set_missing(Iterator it, int err);
    int retry(Iterator it);
    void retry_missing();

    /* Merging, in dma-layout-merge.cc */
    uint64_t merge(Iterator first, Iterator end);
    void map_again(Iterator first, Iterator end);
    Iterator end_of_run(Iterator first, const MergeRule &rule,
                        uint64_t max) const;
    bool merge_round(const MergeRule &rule, uint64_t wanted, uint64_t *gained);
    uint64_t merge_some(uint64_t wanted, bool mapped);
    void make_room(uint64_t wanted);
    void merge_stream(uint64_t last);

    /* Populating */
    bool extend_tail(uint64_t iova, const DmaExtent &like);
    void set_tail(Iterator it, uint64_t block);
    uint64_t extend(Iterator it, uint64_t size, uint64_t block);
    int add(uint64_t iova, uint64_t last, const DmaExtent &like, uint64_t max);
    int add_to_neighbours(uint64_t iova, uint64_t last, const DmaExtent &like);
    int add_request(uint64_t iova, uint64_t last, DmaExtent like,
                    Iterator after, uint64_t block);

    /* Discarding */
    void remap(uint64_t iova, uint64_t last, const DmaExtent &like,
               uint64_t like_iova, Pieces pieces);
    void erase_unmapped(Iterator first, Iterator end);
    int take_away(uint64_t iova, uint64_t last);
    int discard_range(uint64_t iova, uint64_t last);

    /* What is stuck */
    void set_stuck(uint64_t iova, uint64_t last, int err);
    bool is_mapped(uint64_t iova) const;
    void retry_stuck();

    /* Opening the gate, in dma-layout-open.cc */
    Iterator cut(Iterator it, uint64_t size);
    int map_front(Iterator &it, uint64_t size);
    int skip_refused(Iterator &it, int &err, unsigned &nprobes);
    int map_parts(Iterator it, int err, unsigned &nprobes);
    int map_extent(Iterator it, unsigned &nprobes);
    int map_all();
    int try_open();

    DmaLayoutBackend backend_;
    void *opaque_;

    DmaExtentMap extents_;
    DmaBudget budget_;
    DmaStreams streams_;
    DmaMissing missing_;
    DmaStuck stuck_;

    DmaLayoutGate gate_ = DMA_LAYOUT_CLOSED;
    bool was_open_ = false;
    unsigned reported_pressure_ = 0;
    /* The extent of the last request. */
    std::optional<Tail> tail_;
    /* Where the search for extents to merge goes on. */
    uint64_t merge_hand_ = 0;

    uint64_t map_calls_ = 0;
    uint64_t unmap_calls_ = 0;
    uint64_t splits_ = 0;
    uint64_t merges_ = 0;
    uint64_t failures_ = 0;
};

} // namespace shared_dma

#endif
