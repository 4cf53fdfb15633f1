/*
 * Discarded ranges that the kernel failed to unmap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dma-stuck.h"

static IntervalTreeNode *find_in(const DmaStuck *stuck, uint64_t iova,
                                 uint64_t last)
{
    /* Searching changes nothing. */
    return interval_tree_iter_first((IntervalTreeRoot *)&stuck->ranges, iova,
                                    last);
}

bool dma_stuck_is_empty(const DmaStuck *stuck)
{
    return interval_tree_is_empty(&stuck->ranges);
}

bool dma_stuck_overlaps(const DmaStuck *stuck, uint64_t iova, uint64_t last)
{
    return find_in(stuck, iova, last);
}

uint64_t dma_stuck_size(const DmaStuck *stuck)
{
    uint64_t size = 0;

    for (IntervalTreeNode *range = dma_stuck_first(stuck); range;
         range = dma_stuck_next(range)) {
        size += range->last - range->start + 1;
    }
    return size;
}

IntervalTreeNode *dma_stuck_first(const DmaStuck *stuck)
{
    return find_in(stuck, 0, UINT64_MAX);
}

IntervalTreeNode *dma_stuck_next(IntervalTreeNode *range)
{
    return interval_tree_iter_next(range, 0, UINT64_MAX);
}

void dma_stuck_add(DmaStuck *stuck, uint64_t iova, uint64_t last)
{
    IntervalTreeNode *range;

    while ((range = find_in(stuck, iova, last))) {
        iova = MIN(iova, range->start);
        last = MAX(last, range->last);
        dma_stuck_erase(stuck, range);
    }
    range = g_new0(IntervalTreeNode, 1);
    range->start = iova;
    range->last = last;
    interval_tree_insert(range, &stuck->ranges);
}

void dma_stuck_erase(DmaStuck *stuck, IntervalTreeNode *range)
{
    interval_tree_remove(range, &stuck->ranges);
    g_free(range);
}
