/*
 * Discarding memory of a DmaLayout
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "dma-layout-internal.h"

/* How to cut the rest of an extent */
typedef enum DmaPieces {
    DMA_PIECES_ONE,
    DMA_PIECES_POWERS_OF_TWO,
} DmaPieces;

/* Return the size of the largest aligned power of two at a range's start. */
static uint64_t largest_start(uint64_t iova, uint64_t last)
{
    const uint64_t size = last - iova + 1;
    /* 0 is aligned to any size; the size of the whole address space is 0. */
    const uint64_t fits = size ? pow2floor(size) : UINT64_C(1) << 63;

    return iova ? MIN(fits, iova & -iova) : fits;
}

static unsigned int count_powers_of_two(uint64_t iova, uint64_t last)
{
    unsigned int count = 1;

    while (last - iova + 1 != largest_start(iova, last)) {
        iova += largest_start(iova, last);
        count++;
    }
    return count;
}

/*
 * Add the part of @like, which was removed, from @iova to @last.  Map it if
 * @like is mapped, unless something is stuck: then leave that to
 * dma_layout_retry_missing().  If it cannot be mapped, it is missing.
 */
static void remap(DmaLayout *layout, const DmaExtent *like, uint64_t iova,
                  uint64_t last, DmaPieces pieces)
{
    const bool is_open = dma_layout_is_open(layout);
    const bool is_due =
        is_open && dma_stuck_is_empty(&layout->stuck) && like->mapped;
    uint64_t start = iova;

    for (;;) {
        const uint64_t piece_last =
            pieces == DMA_PIECES_ONE ? last
                                     : start + (largest_start(start, last) - 1);
        DmaExtent piece = dma_extent_part(like, start, piece_last);
        DmaExtent *added;
        int err;

        if (start != iova) {
            piece.joined = like->large;
        } else if (iova != like->node.start) {
            piece.joined = false;
        }
        err = is_due ? dma_layout_map_or_make_room(layout, &piece) : 0;
        piece.mapped = is_due && !err;
        added = dma_extents_insert(&layout->extents, &piece);
        if (is_open && !piece.mapped) {
            dma_layout_set_missing(layout, added, err);
        }
        if (piece_last == last) {
            return;
        }
        start = piece_last + 1;
    }
}

/*
 * Remove the unmapped extents from @first to before @end.  Streams end where an
 * extent is removed.
 */
static void erase_unmapped(DmaLayout *layout, DmaExtent *first, DmaExtent *end)
{
    DmaExtent *next;

    for (DmaExtent *it = first; it != end; it = next) {
        next = dma_extent_next(it);
        if (!it->mapped) {
            dma_layout_erase(layout, it);
            if (next != end) {
                next->joined = false;
            }
        }
    }
}

/*
 * Unmap and remove a range, and map the rest of its extents again.  Returns an
 * error if the kernel did not unmap all of it.
 */
static int split_range(DmaLayout *layout, uint64_t iova, uint64_t last)
{
    DmaExtent *first = dma_extents_find(&layout->extents, iova);
    DmaExtent *final = NULL;
    DmaExtent *end;
    DmaExtent front, back;
    bool left, right, in_one, is_split;
    uint64_t npieces;
    DmaPieces pieces;
    int ret;

    for (end = first; end && end->node.start <= last;
         end = dma_extent_next(end)) {
        final = end;
    }
    if (!final) {
        return 0;
    }

    front = *first;
    back = *final;
    ret = dma_layout_unmap_extents(layout, first, end);
    left = front.node.start < iova && !first->mapped;
    right = back.node.last > last && !final->mapped;
    erase_unmapped(layout, first, end);
    if (!right && end && end->node.start == back.node.last + 1) {
        end->joined = false;
    }

    npieces = (left ? count_powers_of_two(front.node.start, iova - 1) : 0) +
              (right ? count_powers_of_two(last + 1, back.node.last) : 0);
    in_one = !dma_layout_is_open(layout) || layout->uses_cuts ||
             dma_budget_is_fixed(&layout->budget) ||
             layout->extents.count + npieces > layout->budget.hard_limit;
    pieces = in_one ? DMA_PIECES_ONE : DMA_PIECES_POWERS_OF_TWO;
    is_split = dma_layout_is_open(layout) &&
               ((left && front.mapped) || (right && back.mapped));

    if (ret) {
        /* Making room could merge, and map again, what is about to be stuck. */
        front.mapped = back.mapped = false;
    }
    if (left) {
        remap(layout, &front, front.node.start, iova - 1, pieces);
    }
    if (right) {
        remap(layout, &back, last + 1, back.node.last, pieces);
    }
    if (is_split) {
        layout->splits++;
        dma_layout_event(layout, DMA_LAYOUT_SPLIT, front.node.start,
                         back.node.last - front.node.start + 1,
                         in_one ? left + right : npieces);
    }
    return ret;
}

/*
 * Unmap and remove a range, if possible without disturbing the rest of its
 * extents.  Returns an error if the kernel did not unmap all of it.
 */
static int remove_range(DmaLayout *layout, uint64_t iova, uint64_t last)
{
    if (layout->uses_cuts && !dma_layout_cut_range(layout, iova, last)) {
        return 0;
    }
    return split_range(layout, iova, last);
}

/* Record and report the mapped parts of a discarded range as stuck. */
static void set_stuck(DmaLayout *layout, uint64_t iova, uint64_t last, int err)
{
    for (DmaExtent *it = dma_extents_find(&layout->extents, iova);
         it && it->node.start <= last; it = dma_extent_next(it)) {
        const uint64_t stuck_iova = MAX(iova, it->node.start);
        const uint64_t stuck_last = MIN(last, it->node.last);

        if (it->mapped) {
            dma_layout_event(layout, DMA_LAYOUT_STUCK, stuck_iova,
                             stuck_last - stuck_iova + 1, -err);
            dma_stuck_add(&layout->stuck, stuck_iova, stuck_last);
        }
    }
}

static bool is_mapped(const DmaLayout *layout, uint64_t iova)
{
    const DmaExtent *extent = dma_extents_find(&layout->extents, iova);

    return extent && extent->node.start <= iova && extent->mapped;
}

/* The stuck ranges that try_stuck() tries */
typedef enum DmaStuckFilter {
    DMA_STUCK_ALL,
    /* Those whose extent was unmapped for another range */
    DMA_STUCK_UNMAPPED,
} DmaStuckFilter;

static void try_stuck(DmaLayout *layout, DmaStuckFilter filter)
{
    IntervalTreeNode *range, *next;

    for (range = dma_stuck_first(&layout->stuck); range; range = next) {
        const uint64_t iova = range->start;
        const uint64_t last = range->last;

        next = dma_stuck_next(range);
        if ((filter == DMA_STUCK_ALL || !is_mapped(layout, iova)) &&
            !remove_range(layout, iova, last)) {
            dma_stuck_erase(&layout->stuck, range);
            dma_layout_event(layout, DMA_LAYOUT_FREED, iova, last - iova + 1,
                             0);
        }
    }
}

void dma_layout_retry_stuck(DmaLayout *layout)
{
    if (dma_stuck_is_empty(&layout->stuck)) {
        return;
    }
    try_stuck(layout, DMA_STUCK_ALL);
    try_stuck(layout, DMA_STUCK_UNMAPPED);
    if (dma_layout_is_open(layout)) {
        dma_layout_retry_missing(layout);
    }
}

int dma_layout_discard_range(DmaLayout *layout, uint64_t iova, uint64_t last)
{
    int ret = remove_range(layout, iova, last);

    if (ret) {
        set_stuck(layout, iova, last, ret);
    }
    if (!dma_stuck_is_empty(&layout->stuck)) {
        dma_layout_retry_stuck(layout);
        ret = dma_stuck_overlaps(&layout->stuck, iova, last) ? -EBUSY : 0;
    } else if (dma_layout_is_open(layout)) {
        dma_layout_retry_missing(layout);
    }
    dma_layout_report_pressure(layout);
    return ret;
}

int dma_layout_discard(DmaLayout *layout, uint64_t iova, uint64_t size)
{
    const uint64_t last = iova + (size - 1);

    layout->missing.nchanges++;
    if (!size || last < iova) {
        return -EINVAL;
    }
    layout->tail.extent = NULL;
    return dma_layout_discard_range(layout, iova, last);
}
