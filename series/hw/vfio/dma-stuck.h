/*
 * Discarded ranges that the kernel failed to unmap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_DMA_STUCK_H
#define HW_VFIO_DMA_STUCK_H

#include "qemu/interval-tree.h"

/* A set of ranges that do not overlap */
typedef struct DmaStuck {
    IntervalTreeRoot ranges;
} DmaStuck;

bool dma_stuck_is_empty(const DmaStuck *stuck);
/* Whether a part of a range is stuck */
bool dma_stuck_overlaps(const DmaStuck *stuck, uint64_t iova, uint64_t last);
/* Return the size of all ranges, in bytes. */
uint64_t dma_stuck_size(const DmaStuck *stuck);

/* Return the first range, or NULL. */
IntervalTreeNode *dma_stuck_first(const DmaStuck *stuck);
/* Return the range that follows, or NULL. */
IntervalTreeNode *dma_stuck_next(IntervalTreeNode *range);

/* Add a range, and merge it with those that it overlaps. */
void dma_stuck_add(DmaStuck *stuck, uint64_t iova, uint64_t last);
/* Remove and free a range. */
void dma_stuck_erase(DmaStuck *stuck, IntervalTreeNode *range);

#endif
