/*
 * Extents of DMA mappings, ordered by IOVA
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * DmaExtents holds extents and whether they are mapped, and counts them as they
 * change: their number, their sizes, and the places where two could be merged.
 * It maps nothing itself; dma-layout-internal.h has the policy.
 *
 * Each change takes O(log n) for n extents, and so does finding one; reading a
 * counter takes constant time.
 */

#ifndef HW_VFIO_DMA_EXTENTS_H
#define HW_VFIO_DMA_EXTENTS_H

#include "qemu/interval-tree.h"
#include "hw/vfio/dma-layout-c.h"

#define DMA_LAYOUT_PAGE_SIZE UINT64_C(4096)

typedef struct DmaMissingExtent DmaMissingExtent;

/* A current or future mapping */
typedef struct DmaExtent {
    /* The range of IOVAs; all extents are in the tree of a DmaExtents */
    IntervalTreeNode node;
    uint64_t vaddr;
    /* Set as long as the extent could not be mapped */
    DmaMissingExtent *missing;
    DmaLayoutAccess access;
    /* Belongs to one large request, or to several, and to nothing else. */
    bool large;
    /* Belongs to the same stream as the extent that ends where it starts. */
    bool joined;
    bool mapped;
} DmaExtent;

typedef struct DmaExtents {
    IntervalTreeRoot tree;
    uint64_t count;
    uint64_t nmapped;
    /* Sizes of all extents, and of the mapped ones, in bytes */
    uint64_t total_size;
    uint64_t mapped_size;
    /*
     * Number of places where two extents may become a single mapping, by
     * whether both are mapped
     */
    uint64_t nseams[2];
    /* The sizes that extents have, as intervals of one number */
    IntervalTreeRoot sizes;
    /* Element i counts extents with floor(log2(size)) = i. */
    uint64_t by_order[64];
} DmaExtents;

static inline uint64_t dma_extent_size(const DmaExtent *extent)
{
    return extent->node.last - extent->node.start + 1;
}

/* Return a description of a part of an extent, which is not in any tree. */
DmaExtent dma_extent_part(const DmaExtent *extent, uint64_t iova,
                          uint64_t last);

/*
 * Whether an extent may become a single mapping with the one before it.  Once
 * they are mapped, small requests stay what they are: the guest uses them, and
 * takes them back, one by one.
 */
bool dma_extent_can_join(const DmaExtent *before, const DmaExtent *extent);

/* Return the extent that follows, or NULL. */
DmaExtent *dma_extent_next(DmaExtent *extent);

/* Find the first extent that ends at @iova or later, or NULL. */
DmaExtent *dma_extents_find(const DmaExtents *extents, uint64_t iova);
/* Find the first extent that starts at @iova or later, or NULL. */
DmaExtent *dma_extents_find_start(const DmaExtents *extents, uint64_t iova);
/* Find the extent that contains the byte before @iova, or NULL. */
DmaExtent *dma_extents_find_before(const DmaExtents *extents, uint64_t iova);
/* Whether a part of a range belongs to an extent */
bool dma_extents_overlap(const DmaExtents *extents, uint64_t iova,
                         uint64_t last);

/* Add a copy of @extent where there is no extent.  Returns the copy. */
DmaExtent *dma_extents_insert(DmaExtents *extents, const DmaExtent *extent);
/* Remove and free an extent, which is not missing. */
void dma_extents_erase(DmaExtents *extents, DmaExtent *extent);
/* Remove and free all extents, none of which is missing. */
void dma_extents_clear(DmaExtents *extents);

void dma_extents_mark_mapped(DmaExtents *extents, DmaExtent *extent);
void dma_extents_mark_unmapped(DmaExtents *extents, DmaExtent *extent);

/* Let an extent end at @last; others must not overlap it. */
void dma_extents_set_last(DmaExtents *extents, DmaExtent *extent,
                          uint64_t last);
/*
 * Divide an extent that contains @iova, which is where the second part starts.
 * Returns the second part.
 */
DmaExtent *dma_extents_divide(DmaExtents *extents, DmaExtent *extent,
                              uint64_t iova);
/*
 * Replace the extents from @first to before @end, none of which is mapped and
 * between which there are only seams, by @first.  It is large if all of them
 * are.
 */
void dma_extents_join(DmaExtents *extents, DmaExtent *first,
                      const DmaExtent *end);

/* Sizes of extents; 0 when there is none. */
uint64_t dma_extents_largest(const DmaExtents *extents);
uint64_t dma_extents_smallest(const DmaExtents *extents);
/* Return the last byte of the last extent; 0 when there is none. */
uint64_t dma_extents_last(const DmaExtents *extents);

#endif
