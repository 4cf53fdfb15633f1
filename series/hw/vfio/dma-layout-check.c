/*
 * Checks of the invariants of a DmaLayout, for tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dma-layout-internal.h"

/* Check the extents themselves. */
static const char *check_ranges(const DmaExtents *extents)
{
    const DmaExtent *before = NULL;

    for (DmaExtent *it = dma_extents_find(extents, 0); it;
         it = dma_extent_next(it)) {
        if (it->node.last < it->node.start) {
            return "an extent is empty or wraps";
        }
        if (!QEMU_IS_ALIGNED(it->node.start | dma_extent_size(it),
                             DMA_LAYOUT_PAGE_SIZE)) {
            return "an extent is not made of pages";
        }
        if (before && before->node.last >= it->node.start) {
            return "extents overlap";
        }
        before = it;
    }
    return NULL;
}

/* Check all counters against those of a copy. */
static const char *check_counters(const DmaExtents *extents)
{
    DmaExtents copy = {};
    bool are_same;

    for (DmaExtent *it = dma_extents_find(extents, 0); it;
         it = dma_extent_next(it)) {
        dma_extents_insert(&copy, it);
    }
    are_same = copy.count == extents->count &&
               copy.nmapped == extents->nmapped &&
               copy.total_size == extents->total_size &&
               copy.mapped_size == extents->mapped_size &&
               copy.nseams[false] == extents->nseams[false] &&
               copy.nseams[true] == extents->nseams[true] &&
               dma_extents_largest(&copy) == dma_extents_largest(extents) &&
               dma_extents_smallest(&copy) == dma_extents_smallest(extents) &&
               dma_extents_last(&copy) == dma_extents_last(extents) &&
               !memcmp(copy.by_order, extents->by_order, sizeof(copy.by_order));
    dma_extents_clear(&copy);
    return are_same ? NULL : "a counter is wrong";
}

/* Check what is recorded of an extent that is missing. */
static const char *check_missing_extent(const DmaLayout *layout,
                                        const DmaExtent *extent)
{
    const DmaMissing *missing = &layout->missing;
    const DmaMissingExtent *known = extent->missing;
    const uint64_t iova = extent->node.start;

    if (known->extent != extent) {
        return "what is missing is another extent";
    }
    if (extent->mapped) {
        return "something is missing that is mapped";
    }
    if (known->is_refused &&
        g_tree_lookup(missing->refused, extent) != extent) {
        return "a refused extent is never due";
    }
    if (!known->is_refused &&
        interval_tree_iter_first((IntervalTreeRoot *)&missing->short_extents,
                                 iova, iova) != &known->short_node) {
        return "a short extent is never tried again";
    }
    return NULL;
}

static const char *check_extents(const DmaLayout *layout)
{
    const bool is_fixed = dma_budget_is_fixed(&layout->budget);
    uint64_t nshort = 0;
    uint64_t nrefused = 0;

    for (DmaExtent *it = dma_extents_find(&layout->extents, 0); it;
         it = dma_extent_next(it)) {
        const char *broken =
            it->missing ? check_missing_extent(layout, it) : NULL;

        if (broken) {
            return broken;
        }
        if (is_fixed && dma_extent_size(it) != DMA_LAYOUT_PAGE_SIZE) {
            return "an extent is not of the size of a page";
        }
        if (it->mapped && !layout->was_open) {
            return "an extent is mapped before the gate was open";
        }
        if (!it->mapped && dma_layout_is_open(layout) && !it->missing) {
            return "an extent is not mapped, and not missing";
        }
        nrefused += dma_missing_is_refused(it);
        nshort += it->missing && !dma_missing_is_refused(it);
    }
    if (nshort != layout->missing.nshort ||
        nrefused != g_tree_nnodes(layout->missing.refused)) {
        return "something is missing that is not populated";
    }
    return NULL;
}

static const char *check_stuck(const DmaLayout *layout)
{
    for (IntervalTreeNode *range = dma_stuck_first(&layout->stuck); range;
         range = dma_stuck_next(range)) {
        const DmaExtent *extent =
            dma_extents_find(&layout->extents, range->start);

        if (!extent || !extent->mapped || extent->node.start > range->start ||
            extent->node.last < range->last) {
            return "something is stuck that is not mapped";
        }
    }
    return NULL;
}

static const char *check_tail(const DmaLayout *layout)
{
    const DmaExtent *tail = layout->tail.extent;

    if (tail && dma_extents_find(&layout->extents, tail->node.start) != tail) {
        return "the last extent of the last request is not there";
    }
    return NULL;
}

const char *dma_layout_broken_invariant(const DmaLayout *layout)
{
    const char *broken = check_ranges(&layout->extents);

    if (!broken) {
        broken = check_counters(&layout->extents);
    }
    if (!broken) {
        broken = check_extents(layout);
    }
    if (!broken) {
        broken = check_stuck(layout);
    }
    if (!broken) {
        broken = check_tail(layout);
    }
    return broken;
}
