/*
 * Discarding parts of the mappings of a DmaLayout while the rest stays mapped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dma-layout-internal.h"

void dma_layout_use_cuts(DmaLayout *layout)
{
    assert(!layout->extents.count);
    layout->uses_cuts = true;
    dma_budget_set_unlimited(&layout->budget);
}

/* Let an extent start at @iova, if one contains it. */
static void divide_at(DmaLayout *layout, uint64_t iova)
{
    DmaExtent *extent = dma_extents_find(&layout->extents, iova);
    DmaExtent *back;

    if (!extent || extent->node.start >= iova) {
        return;
    }
    if (extent->mapped) {
        dma_extents_divide(&layout->extents, extent, iova);
        return;
    }
    back = dma_layout_divide(layout, extent, iova);
    if (dma_layout_is_open(layout)) {
        /* Both parts are as missing as the whole was. */
        dma_layout_set_missing(layout, extent, 0);
        dma_layout_set_missing(layout, back, 0);
    }
}

/* Cut what is mapped in a range, whose first extent is @first. */
static int cut_mapped(DmaLayout *layout, uint64_t iova, uint64_t last,
                      DmaExtent *first)
{
    /* From the first to the last mapped byte */
    uint64_t cut_iova = last;
    uint64_t cut_last = iova;
    bool is_mapped = false;

    for (DmaExtent *it = first; it && it->node.start <= last;
         it = dma_extent_next(it)) {
        if (it->mapped) {
            cut_iova = is_mapped ? cut_iova : MAX(iova, it->node.start);
            cut_last = MIN(last, it->node.last);
            is_mapped = true;
        }
    }
    return is_mapped ? dma_layout_cut(layout, cut_iova, cut_last) : 0;
}

int dma_layout_cut_range(DmaLayout *layout, uint64_t iova, uint64_t last)
{
    DmaExtent *first = dma_extents_find(&layout->extents, iova);
    const int ret = cut_mapped(layout, iova, last, first);
    DmaExtent *it, *next;

    if (ret) {
        return ret;
    }
    divide_at(layout, iova);
    if (last != UINT64_MAX) {
        divide_at(layout, last + 1);
    }
    for (it = dma_extents_find_start(&layout->extents, iova);
         it && it->node.start <= last; it = next) {
        next = dma_extent_next(it);
        dma_layout_erase(layout, it);
    }
    if (it) {
        it->joined = false;
    }
    return 0;
}

/* Find the end of the extents from @first on that can be joined. */
static DmaExtent *end_of_neighbours(DmaExtent *first)
{
    DmaExtent *it = first;
    DmaExtent *next = dma_extent_next(first);

    if (first->mapped || dma_missing_is_refused(first)) {
        return next;
    }
    while (next && dma_extent_can_join(it, next) &&
           !dma_missing_is_refused(next)) {
        it = next;
        next = dma_extent_next(it);
    }
    return next;
}

void dma_layout_join_neighbours(DmaLayout *layout)
{
    DmaExtent *first = dma_extents_find(&layout->extents, 0);

    while (first && layout->extents.nseams[false]) {
        DmaExtent *end = end_of_neighbours(first);

        if (dma_extent_next(first) != end) {
            dma_extents_join(&layout->extents, first, end);
        }
        first = end;
    }
}
