/*
 * Extents of DMA mappings, ordered by IOVA
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "dma-extents.h"

/* The number of extents of one size, which is the only one in the interval */
typedef struct DmaExtentSize {
    IntervalTreeNode node;
    uint64_t count;
} DmaExtentSize;

/*
 * Return the smallest or the largest number in any interval, or 0.  Both take
 * constant time, because the tree knows them.
 */
static uint64_t tree_first(const IntervalTreeRoot *tree)
{
    const RBNode *first = tree->rb_leftmost;

    return first ? container_of(first, IntervalTreeNode, rb)->start : 0;
}

static uint64_t tree_last(const IntervalTreeRoot *tree)
{
    const RBNode *root = tree->rb_root.rb_node;

    return root ? container_of(root, IntervalTreeNode, rb)->subtree_last : 0;
}

/* Sizes */

static DmaExtentSize *find_size(DmaExtents *extents, uint64_t size)
{
    IntervalTreeNode *node =
        interval_tree_iter_first(&extents->sizes, size, size);

    return node ? container_of(node, DmaExtentSize, node) : NULL;
}

static unsigned int order_of(uint64_t size)
{
    return 63 - clz64(size);
}

static void count_size(DmaExtents *extents, uint64_t size)
{
    DmaExtentSize *known = find_size(extents, size);

    if (!known) {
        known = g_new0(DmaExtentSize, 1);
        known->node.start = known->node.last = size;
        interval_tree_insert(&known->node, &extents->sizes);
    }
    known->count++;
    extents->by_order[order_of(size)]++;
}

static void uncount_size(DmaExtents *extents, uint64_t size)
{
    DmaExtentSize *known = find_size(extents, size);

    extents->by_order[order_of(size)]--;
    if (!--known->count) {
        interval_tree_remove(&known->node, &extents->sizes);
        g_free(known);
    }
}

uint64_t dma_extents_largest(const DmaExtents *extents)
{
    return tree_last(&extents->sizes);
}

uint64_t dma_extents_smallest(const DmaExtents *extents)
{
    return tree_first(&extents->sizes);
}

/* Finding extents */

static DmaExtent *to_extent(IntervalTreeNode *node)
{
    return node ? container_of(node, DmaExtent, node) : NULL;
}

static DmaExtent *find_in(const DmaExtents *extents, uint64_t iova,
                          uint64_t last)
{
    /* Searching changes nothing. */
    return to_extent(interval_tree_iter_first(
        (IntervalTreeRoot *)&extents->tree, iova, last));
}

DmaExtent *dma_extent_next(DmaExtent *extent)
{
    return to_extent(interval_tree_iter_next(&extent->node, 0, UINT64_MAX));
}

DmaExtent *dma_extents_find(const DmaExtents *extents, uint64_t iova)
{
    return find_in(extents, iova, UINT64_MAX);
}

DmaExtent *dma_extents_find_start(const DmaExtents *extents, uint64_t iova)
{
    DmaExtent *extent = dma_extents_find(extents, iova);

    return extent && extent->node.start < iova ? dma_extent_next(extent)
                                               : extent;
}

DmaExtent *dma_extents_find_before(const DmaExtents *extents, uint64_t iova)
{
    return iova ? find_in(extents, iova - 1, iova - 1) : NULL;
}

bool dma_extents_overlap(const DmaExtents *extents, uint64_t iova,
                         uint64_t last)
{
    return find_in(extents, iova, last);
}

uint64_t dma_extents_last(const DmaExtents *extents)
{
    return tree_last(&extents->tree);
}

/* Changing extents */

DmaExtent dma_extent_part(const DmaExtent *extent, uint64_t iova,
                          uint64_t last)
{
    DmaExtent part = *extent;

    part.node.start = iova;
    part.node.last = last;
    part.vaddr += iova - extent->node.start;
    part.missing = NULL;
    return part;
}

bool dma_extent_can_join(const DmaExtent *before, const DmaExtent *extent)
{
    return before->node.last + 1 == extent->node.start &&
           before->vaddr + dma_extent_size(before) == extent->vaddr &&
           before->access == extent->access &&
           before->mapped == extent->mapped &&
           (!extent->mapped || (extent->large && before->large));
}

/* Return the number of neighbours that an extent may be merged with. */
static unsigned int count_seams(const DmaExtents *extents, DmaExtent *extent)
{
    const DmaExtent *before =
        dma_extents_find_before(extents, extent->node.start);
    const DmaExtent *after = dma_extent_next(extent);

    return (before && dma_extent_can_join(before, extent)) +
           (after && dma_extent_can_join(extent, after));
}

static void count_mapped(DmaExtents *extents, const DmaExtent *extent)
{
    extents->nmapped++;
    extents->mapped_size += dma_extent_size(extent);
}

static void uncount_mapped(DmaExtents *extents, const DmaExtent *extent)
{
    extents->nmapped--;
    extents->mapped_size -= dma_extent_size(extent);
}

static void link_extent(DmaExtents *extents, DmaExtent *extent)
{
    interval_tree_insert(&extent->node, &extents->tree);
    extents->count++;
    extents->total_size += dma_extent_size(extent);
    extents->nseams[extent->mapped] += count_seams(extents, extent);
    count_size(extents, dma_extent_size(extent));
    if (extent->mapped) {
        count_mapped(extents, extent);
    }
}

static void unlink_extent(DmaExtents *extents, DmaExtent *extent)
{
    if (extent->mapped) {
        uncount_mapped(extents, extent);
    }
    uncount_size(extents, dma_extent_size(extent));
    extents->nseams[extent->mapped] -= count_seams(extents, extent);
    extents->total_size -= dma_extent_size(extent);
    extents->count--;
    interval_tree_remove(&extent->node, &extents->tree);
}

DmaExtent *dma_extents_insert(DmaExtents *extents, const DmaExtent *extent)
{
    DmaExtent *copy = g_new(DmaExtent, 1);

    *copy = *extent;
    copy->missing = NULL;
    link_extent(extents, copy);
    return copy;
}

void dma_extents_erase(DmaExtents *extents, DmaExtent *extent)
{
    assert(!extent->missing);
    unlink_extent(extents, extent);
    g_free(extent);
}

void dma_extents_clear(DmaExtents *extents)
{
    DmaExtent *extent;

    while ((extent = dma_extents_find(extents, 0))) {
        dma_extents_erase(extents, extent);
    }
}

void dma_extents_mark_mapped(DmaExtents *extents, DmaExtent *extent)
{
    extents->nseams[false] -= count_seams(extents, extent);
    extent->mapped = true;
    extents->nseams[true] += count_seams(extents, extent);
    count_mapped(extents, extent);
}

void dma_extents_mark_unmapped(DmaExtents *extents, DmaExtent *extent)
{
    uncount_mapped(extents, extent);
    extents->nseams[true] -= count_seams(extents, extent);
    extent->mapped = false;
    extents->nseams[false] += count_seams(extents, extent);
}

void dma_extents_set_last(DmaExtents *extents, DmaExtent *extent,
                          uint64_t last)
{
    unlink_extent(extents, extent);
    extent->node.last = last;
    link_extent(extents, extent);
}

DmaExtent *dma_extents_divide(DmaExtents *extents, DmaExtent *extent,
                              uint64_t iova)
{
    DmaExtent back = dma_extent_part(extent, iova, extent->node.last);

    back.joined = extent->large;
    dma_extents_set_last(extents, extent, iova - 1);
    return dma_extents_insert(extents, &back);
}

void dma_extents_join(DmaExtents *extents, DmaExtent *first,
                      const DmaExtent *end)
{
    uint64_t last = first->node.last;
    bool large = first->large;
    DmaExtent *next;

    while ((next = dma_extent_next(first)) != end) {
        last = next->node.last;
        large &= next->large;
        dma_extents_erase(extents, next);
    }
    first->large = large;
    dma_extents_set_last(extents, first, last);
}
