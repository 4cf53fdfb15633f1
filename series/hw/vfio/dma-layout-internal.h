/*
 * The IOMMU mappings of a container's populated memory: internal header
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
 * stuck: discarded, but still mapped, and kept as extents.  Unmapping it is
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
 * the gate.  An extent takes 80 bytes, with the heap's header.  If the kernel
 * sets no limit, the layout limits itself to 1048576 extents, except that there
 * are as many extents of a page's size, which users must ask for, as there are
 * pages.
 *
 * RamDiscardManager (exec/memory.h) defines populate and discard.  A layout is
 * not locked: its owner serializes access.
 */

#ifndef HW_VFIO_DMA_LAYOUT_INTERNAL_H
#define HW_VFIO_DMA_LAYOUT_INTERNAL_H

#include "hw/vfio/dma-layout-c.h"
#include "dma-budget.h"
#include "dma-extents.h"
#include "dma-missing.h"
#include "dma-stuck.h"

/* Number of entries to gain in one request when none are left */
#define DMA_LAYOUT_MERGE_BATCH UINT64_C(64)
/* Maximum number of streams whose requests can alternate */
#define DMA_LAYOUT_NSTREAMS 8

/* The ends of the last large requests, exclusive */
typedef struct DmaStreams {
    uint64_t ends[DMA_LAYOUT_NSTREAMS];
    unsigned int oldest;
    unsigned int current;
} DmaStreams;

/* The last extent of the last request */
typedef struct DmaTail {
    /* NULL if there is none */
    DmaExtent *extent;
    /* How far it can grow in place, if it is not mapped */
    uint64_t max_last;
    /* How far there is nothing else */
    uint64_t free_last;
} DmaTail;

struct DmaLayout {
    DmaLayoutBackend backend;
    void *opaque;

    DmaExtents extents;
    DmaBudget budget;
    DmaStreams streams;
    DmaMissing missing;
    DmaStuck stuck;

    bool uses_cuts;
    DmaLayoutGate gate;
    bool was_open;
    unsigned int reported_pressure;
    DmaTail tail;
    /* Where the search for extents to merge continues */
    uint64_t merge_hand;

    uint64_t map_calls;
    uint64_t unmap_calls;
    uint64_t cuts;
    uint64_t splits;
    uint64_t merges;
    uint64_t failures;
};

/* The extents to merge, see dma_layout_merge_some() */
typedef struct DmaMergeRule {
    /* Merge only within blocks of this size... */
    uint64_t block;
    /* ...only within streams, or anywhere... */
    bool joined_only;
    /* ...and either mapped or unmapped extents. */
    bool mapped;
} DmaMergeRule;

/* The extents that dma_layout_merge_some() may merge */
typedef enum DmaMerging {
    DMA_MERGE_UNMAPPED,
    DMA_MERGE_MAPPED,
} DmaMerging;

/* Adjacent extents from @first to before @end */
typedef struct DmaRun {
    DmaExtent *first;
    DmaExtent *end;
    uint64_t count;
    /* Last byte of the last extent */
    uint64_t last;
} DmaRun;

/* Backend */

int dma_layout_map(DmaLayout *layout, const DmaExtent *extent);
/* Map an extent.  If no entries are left, merge mapped extents first. */
int dma_layout_map_or_make_room(DmaLayout *layout, const DmaExtent *extent);
/*
 * Unmap the mapped extents from @first to before @end, in one call.  Nothing
 * else may be mapped between them.
 */
int dma_layout_unmap_extents(DmaLayout *layout, DmaExtent *first,
                             const DmaExtent *end);
/* Unmap a range that can contain parts of mappings. */
int dma_layout_cut(DmaLayout *layout, uint64_t iova, uint64_t last);
void dma_layout_event(DmaLayout *layout, DmaLayoutEvent event, uint64_t iova,
                      uint64_t size, uint64_t count);

/* Budget */

void dma_layout_ask_for_limit(DmaLayout *layout);
uint64_t dma_layout_room(const DmaLayout *layout);
uint64_t dma_layout_block_size(const DmaLayout *layout);
void dma_layout_report_pressure(DmaLayout *layout);
/* Return the number of blocks that a range overlaps. */
uint64_t dma_layout_count_blocks(uint64_t iova, uint64_t last, uint64_t block);

/* Missing extents */

/* Remove an extent, also from the missing ones. */
void dma_layout_erase(DmaLayout *layout, DmaExtent *extent);
/*
 * Divide an unmapped extent at @iova; its parts are not missing.  Returns the
 * second part.
 */
DmaExtent *dma_layout_divide(DmaLayout *layout, DmaExtent *extent,
                             uint64_t iova);
/* Record and report a missing extent; @err is 0 if the reason is unchanged. */
void dma_layout_set_missing(DmaLayout *layout, DmaExtent *extent, int err);
/* Try again to map missing extents. */
void dma_layout_retry_missing(DmaLayout *layout);

/* Merging, in dma-layout-merge.c */

/*
 * Replace a run by one extent, its first one.  Returns the number of entries
 * gained: 0 if the kernel fails.
 */
uint64_t dma_layout_merge(DmaLayout *layout, const DmaRun *run);
/*
 * Find the extents from @first on that @rule allows to merge, at most @max of
 * them.
 */
DmaRun dma_layout_find_run(DmaExtent *first, const DmaMergeRule *rule,
                           uint64_t max);
/*
 * Gain at least @wanted entries by merging mapped or unmapped extents.  Returns
 * the number of entries gained.
 */
uint64_t dma_layout_merge_some(DmaLayout *layout, uint64_t wanted,
                               DmaMerging merging);
/* Make room for @wanted extents, if possible. */
void dma_layout_make_room(DmaLayout *layout, uint64_t wanted);

/* Populating, in dma-layout-populate.c */

void dma_layout_init_streams(DmaStreams *streams);
/*
 * Add the range and the properties of @like, where there is nothing, as at most
 * @max extents, and set @added to the last one.  If one of them cannot be
 * mapped, none is added.
 */
int dma_layout_add(DmaLayout *layout, const DmaExtent *like, uint64_t max,
                   DmaExtent **added);

/* Discarding, in dma-layout-discard.c and dma-layout-cut.c */

int dma_layout_discard_range(DmaLayout *layout, uint64_t iova, uint64_t last);
/*
 * Unmap and remove a range; the rest of its extents stays mapped.  Returns an
 * error, and changes nothing, if the kernel does not cut its mappings.
 */
int dma_layout_cut_range(DmaLayout *layout, uint64_t iova, uint64_t last);
/* Try again to unmap all stuck ranges. */
void dma_layout_retry_stuck(DmaLayout *layout);
/*
 * Join adjacent extents that are not mapped, so that each takes one call when
 * it is mapped.  Refused extents stay as they are, and are tried when due.
 */
void dma_layout_join_neighbours(DmaLayout *layout);

/*
 * Check all invariants.  Returns a description of the first one that does not
 * hold, or NULL.  Takes O(n log n); in dma-layout-check.c, for tests.
 */
const char *dma_layout_broken_invariant(const DmaLayout *layout);

#endif
