/*
 * Which IOMMU mappings cover the populated memory of a container
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * VFIO hears of memory that is populated and discarded, in any granularity:
 * pages that a guest shares and makes private again, blocks that virtio-mem
 * plugs and unplugs.  The kernel maps ranges, counts each as an entry, grants
 * 65535 of them by default, and takes a mapping back as a whole or not at
 * all.  A DmaLayout decides which mappings there are.
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
 * Coarse memory, which is discarded in pieces of 1 MiB or more, as virtio-mem's
 * is, has extents of these pieces: never split, nor merged, while there are
 * entries.  Who discards block by block does so while the next is in use.
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

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

extern "C" {
#include "hw/vfio/dma-layout-c.h"
}

namespace shared_dma {

/* One mapping, or what will be one; its IOVA is its key. */
struct DmaExtent {
    uint64_t size;
    uint64_t vaddr;
    /* Discards are multiples of 1 << granularity_shift bytes. */
    uint8_t granularity_shift;
    bool readonly;
    /* Of the same stream as the extent that ends where this one starts. */
    bool joined;
    bool mapped;
};

/* How many extents there are of each size. */
class DmaExtentSizes {
public:
    void add(uint64_t size);
    void remove(uint64_t size);

    /* 0 when there is none. */
    uint64_t largest() const;
    uint64_t smallest() const;
    /* Element i is for those of 1 << i bytes and more. */
    const std::array<uint64_t, 64> &by_order() const { return by_order_; }

    bool operator==(const DmaExtentSizes &) const = default;

private:
    std::map<uint64_t, uint64_t> counts_;
    std::array<uint64_t, 64> by_order_ = {};
};

/* The functions are documented with the C interface, dma-layout-c.h. */
class DmaLayout {
public:
    /* By IOVA. */
    using Extents = std::map<uint64_t, DmaExtent>;

    static constexpr uint64_t kPage = 4096;
    /* What a superpage of an IOMMU covers. */
    static constexpr uint64_t kBlock = UINT64_C(2) << 20;
    /* The largest superpage, and what a closed gate cuts at. */
    static constexpr uint64_t kLargeBlock = UINT64_C(1) << 30;
    /*
     * Entries that are kept for splits, which need at most as many as an
     * extent of this many bits has.
     */
    static constexpr uint64_t kSplitReserve = 64;
    /*
     * How many extents there may be if the kernel sets no limit.  Each takes
     * about 100 bytes of QEMU's memory and 400 of the kernel's, so all of them
     * half a GiB, whatever a guest does.
     */
    static constexpr uint64_t kMaxExtents = UINT64_C(1) << 20;

    DmaLayout(const DmaLayoutBackend &backend, void *opaque);

    int set_extent_size(uint64_t extent_size);

    int populate(uint64_t iova, uint64_t size, uint64_t vaddr,
                 uint64_t granularity, bool readonly);
    int discard(uint64_t iova, uint64_t size);

    int open();
    void close();
    bool is_open() const { return open_; }

    uint64_t nmapped() const { return nmapped_; }
    DmaLayoutStats stats() const;
    const Extents &extents() const { return extents_; }
    /* The first extent that ends at @iova or later. */
    Extents::const_iterator next_extent(uint64_t iova) const;

    /*
     * Look at everything the layout knows of itself: which invariant does not
     * hold, or null.  O(n), for tests.
     */
    const char *broken_invariant() const;

    DmaLayout(const DmaLayout &) = delete;
    DmaLayout &operator=(const DmaLayout &) = delete;

private:
    using Iterator = Extents::iterator;

    /* What to merge: see merge_some(). */
    struct MergeRule {
        uint64_t block;
        bool joined_only;
        bool mapped;
    };

    bool is_fixed() const { return extent_size_ == DMA_LAYOUT_PAGE; }
    bool is_coarse(uint64_t granularity) const;
    unsigned pressure() const;
    uint64_t block_size(uint64_t granularity) const;
    void tell_pressure();

    int map(uint64_t iova, const DmaExtent &extent);
    int map_or_make_room(uint64_t iova, const DmaExtent &extent);
    int unmap(uint64_t iova, uint64_t last);
    int unmap_extents(Iterator begin, Iterator end);
    void event(DmaLayoutEvent event, uint64_t iova, uint64_t size,
               uint64_t count);
    void ask_for_limit();
    void set_limit(uint64_t limit);
    uint64_t room() const;

    Iterator find(uint64_t iova);
    bool continues_stream(uint64_t iova, uint64_t end);
    bool is_seam(Extents::const_iterator it) const;
    void count_mapped(const DmaExtent &extent, bool mapped);
    Iterator insert(uint64_t iova, const DmaExtent &extent);
    Iterator erase(Iterator it);
    void set_mapped(Iterator it, bool mapped);
    void set_missing(Iterator it, int err);
    void set_refused(uint64_t iova);
    void put_off(uint64_t iova, uint64_t nchanges);
    void forget_refusal(uint64_t iova);
    bool is_put_off(uint64_t iova) const;

    bool extend_tail(uint64_t iova, const DmaExtent &like);
    void set_tail(Iterator it, uint64_t block);
    void drop_tail();
    uint64_t extend(Iterator it, uint64_t size, uint64_t block);
    int add(uint64_t iova, uint64_t last, const DmaExtent &like, uint64_t max);
    int add_to_neighbours(uint64_t iova, uint64_t last, const DmaExtent &like);
    void remap(uint64_t iova, uint64_t last, const DmaExtent &like,
               uint64_t like_iova, bool in_one, bool is_due);
    int take_away(uint64_t iova, uint64_t last);
    int discard_range(uint64_t iova, uint64_t last);
    bool is_stuck(uint64_t iova, uint64_t last) const;
    void set_stuck(uint64_t iova, uint64_t last, int err);
    void free_stuck(bool mapped);
    void retry_stuck();
    int retry(Iterator it);
    void retry_missing();

    Iterator cut(Iterator it, uint64_t size);
    int map_front(Iterator &it, uint64_t size);
    int skip_refused(Iterator &it, int &err, unsigned &nprobes);
    int map_parts(Iterator it, int err, unsigned &nprobes);
    int map_all();

    uint64_t merge(Iterator first, Iterator end);
    void map_again(Iterator first, Iterator end);
    bool merge_round(const MergeRule &rule, uint64_t wanted, uint64_t *gained);
    uint64_t merge_some(uint64_t wanted, bool mapped);
    void make_room(uint64_t wanted);
    void merge_stream(uint64_t last);

    DmaLayoutBackend backend_;
    void *opaque_;

    Extents extents_;
    /* Those of all extents but the tail, whose size changes all the time. */
    DmaExtentSizes sizes_;
    /* Those that are missing and can be tried again at any time. */
    std::set<uint64_t> missing_;
    /*
     * Those that the kernel does not map, whatever is left of anything: missing
     * while the gate is open.  By how many changes each was put off last, until
     * which one; and in that order.
     */
    struct Refusal {
        uint64_t due;
        uint64_t delay;
    };
    std::map<uint64_t, Refusal> refused_;
    std::set<std::pair<uint64_t, uint64_t>> due_;
    /* How often the layout was to be changed. */
    uint64_t nchanges_ = 0;
    /* First and last byte of what is stuck, each range in one extent. */
    std::map<uint64_t, uint64_t> stuck_;
    bool open_ = false;
    bool was_open_ = false;

    uint64_t extent_size_ = DMA_LAYOUT_AUTO;
    /* How many extents there may be: for all, and with those for splits. */
    uint64_t limit_;
    uint64_t hard_limit_;
    unsigned told_pressure_ = 0;

    /* Where the last requests ended. */
    std::array<uint64_t, 8> stream_ends_;
    size_t oldest_stream_ = 0;
    /* Which of them was the last of all. */
    size_t stream_ = 0;
    /* Its extent, if it can grow until it ends at @tail_max_last_. */
    Iterator tail_ = extents_.end();
    uint64_t tail_max_last_ = 0;
    /* Where the search for extents to merge goes on. */
    uint64_t merge_hand_ = 0;
    /* Where the next missing extent is tried again. */
    uint64_t retry_hand_ = 0;

    /*
     * Places where an extent could be merged with the one before it, by
     * whether both are mapped.
     */
    std::array<uint64_t, 2> nseams_ = {};
    uint64_t nmapped_ = 0;
    uint64_t populated_size_ = 0;
    uint64_t mapped_size_ = 0;
    uint64_t map_calls_ = 0;
    uint64_t unmap_calls_ = 0;
    uint64_t splits_ = 0;
    uint64_t merges_ = 0;
    uint64_t failures_ = 0;
};

} // namespace shared_dma

#endif
