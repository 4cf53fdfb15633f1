/*
 * Opening and closing the gate of a DmaLayout
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "dma-layout-internal.h"

/* Maximum number of failed calls to find refused pages while opening */
#define MAX_PROBES 1024

/* Mapping all extents, one after the other */
typedef struct DmaOpening {
    DmaLayout *layout;
    /* The extent to map next, or NULL at the end */
    DmaExtent *next;
    /* Number of calls that may fail */
    unsigned int nprobes;
    /* Why the last mapping was refused */
    int err;
} DmaOpening;

static void mark_mapped(DmaOpening *opening, DmaExtent *extent)
{
    dma_extents_mark_mapped(&opening->layout->extents, extent);
    opening->next = dma_extent_next(extent);
}

static void set_missing(DmaOpening *opening, DmaExtent *extent, int err)
{
    dma_layout_set_missing(opening->layout, extent, err);
    opening->next = dma_extent_next(extent);
}

/* Divide the extent after @size bytes, unless that is all of it. */
static void divide_next(DmaOpening *opening, uint64_t size)
{
    DmaExtent *extent = opening->next;

    if (size < dma_extent_size(extent)) {
        dma_layout_divide(opening->layout, extent, extent->node.start + size);
    }
}

/* Map @size bytes of the extent after the first @offset. */
static int map_part(DmaOpening *opening, uint64_t offset, uint64_t size)
{
    const DmaExtent *extent = opening->next;
    const uint64_t iova = extent->node.start + offset;
    const DmaExtent part = dma_extent_part(extent, iova, iova + (size - 1));

    return dma_layout_map_or_make_room(opening->layout, &part);
}

/*
 * Skip refused pages at the start of the extent: find a page that can be
 * mapped, at distances that double.  The pages before it are missing.  Returns
 * an error for lack of resources.
 */
static int skip_refused(DmaOpening *opening)
{
    const uint64_t size = dma_extent_size(opening->next);

    for (uint64_t run = DMA_LAYOUT_PAGE_SIZE; run < size && opening->nprobes;
         run *= 2) {
        const uint64_t probe_size = MIN(DMA_LAYOUT_PAGE_SIZE, size - run);
        const int ret = map_part(opening, run, probe_size);

        if (dma_missing_is_shortage(ret)) {
            return ret;
        }
        if (!ret) {
            divide_next(opening, run);
            set_missing(opening, opening->next, opening->err);
            divide_next(opening, probe_size);
            mark_mapped(opening, opening->next);
            return 0;
        }
        opening->err = ret;
        opening->nprobes--;
    }
    set_missing(opening, opening->next, opening->err);
    return 0;
}

/*
 * Map the parts of the extent that the kernel does not refuse.  Mapping it as a
 * whole failed.  Find the first refused page by bisection.  Returns an error
 * for lack of resources.
 */
static int map_parts(DmaOpening *opening)
{
    const uint64_t last = opening->next->node.last;
    /* Number of bytes that contain a refused page */
    uint64_t bad = dma_extent_size(opening->next);
    bool is_tried = true;

    while (opening->next && opening->next->node.start <= last) {
        uint64_t size;
        int ret;

        if (!opening->nprobes || dma_layout_room(opening->layout) < 2) {
            set_missing(opening, opening->next, opening->err);
            return 0;
        }
        if (bad && bad <= DMA_LAYOUT_PAGE_SIZE && is_tried) {
            ret = skip_refused(opening);
            bad = 0;
            if (ret) {
                return ret;
            }
            continue;
        }

        if (!bad) {
            size = dma_extent_size(opening->next);
        } else if (bad <= DMA_LAYOUT_PAGE_SIZE) {
            size = bad;
        } else {
            size = pow2floor(bad - 1);
        }
        ret = map_part(opening, 0, size);
        if (dma_missing_is_shortage(ret)) {
            return ret;
        }
        is_tried = ret != 0;
        if (ret) {
            opening->err = ret;
            opening->nprobes--;
            bad = size;
        } else {
            divide_next(opening, size);
            mark_mapped(opening, opening->next);
            bad -= MIN(bad, size);
        }
    }
    return 0;
}

/*
 * Join the extent, which the kernel refuses, with the rest of its stream, in a
 * large block, because the kernel may refuse much of it.
 */
static void join_stream(DmaOpening *opening)
{
    static const DmaMergeRule rule = {
        .block = DMA_BUDGET_LARGE_BLOCK,
        .joined_only = true,
        .mapped = false,
    };
    DmaRun run = dma_layout_find_run(opening->next, &rule, UINT64_MAX);
    DmaExtent *it = run.first;

    run.count = 1;
    run.last = it->node.last;
    for (it = dma_extent_next(it);
         it != run.end && !dma_missing_is_refused(it);
         it = dma_extent_next(it)) {
        run.count++;
        run.last = it->node.last;
    }
    run.end = it;
    if (run.count > 1 && !dma_budget_is_fixed(&opening->layout->budget)) {
        dma_layout_merge(opening->layout, &run);
    }
}

/*
 * Map the extent, except for pages that the kernel refuses; these are missing.
 * Returns an error for lack of resources.
 */
static int map_next(DmaOpening *opening)
{
    DmaMissing *missing = &opening->layout->missing;
    DmaExtent *extent = opening->next;
    int ret;

    if (dma_missing_is_put_off(missing, extent)) {
        set_missing(opening, extent, 0);
        return 0;
    }
    ret = dma_layout_map_or_make_room(opening->layout, extent);
    if (!ret) {
        dma_missing_remove(missing, extent);
        mark_mapped(opening, extent);
        return 0;
    }
    if (dma_missing_is_shortage(ret)) {
        return ret;
    }
    if (dma_missing_is_refused(extent)) {
        set_missing(opening, extent, ret);
        return 0;
    }
    join_stream(opening);
    opening->err = ret;
    return map_parts(opening);
}

/*
 * Map all unmapped extents, except for pages that the kernel refuses.  Returns
 * an error for lack of resources.
 */
static int map_all(DmaLayout *layout)
{
    DmaOpening opening = {
        .layout = layout,
        .next = dma_extents_find(&layout->extents, 0),
        .nprobes = MAX_PROBES,
    };
    int ret = 0;

    while (opening.next && !ret) {
        if (opening.next->mapped) {
            opening.next = dma_extent_next(opening.next);
        } else {
            ret = map_next(&opening);
        }
    }
    return ret;
}

/* Make room and map all extents.  Returns the result of dma_layout_open(). */
static int try_open(DmaLayout *layout)
{
    uint64_t limit;
    bool is_short;
    int ret;

    dma_layout_ask_for_limit(layout);
    limit = layout->budget.limit;
    if (layout->uses_cuts) {
        dma_layout_join_neighbours(layout);
    } else if (layout->extents.count > limit) {
        dma_layout_merge_some(layout, layout->extents.count - limit,
                              DMA_MERGE_UNMAPPED);
    }
    /* Do not map one by one, at each attempt of a guest, only to fail. */
    is_short = layout->extents.count > layout->budget.hard_limit;

    dma_layout_retry_stuck(layout);
    layout->gate = DMA_LAYOUT_OPEN;
    layout->was_open = true;
    if (!dma_stuck_is_empty(&layout->stuck)) {
        return -EBUSY;
    }
    if (is_short) {
        return -ENOSPC;
    }
    ret = map_all(layout);
    if (!ret) {
        /* Refused extents may be mappable now. */
        dma_layout_retry_missing(layout);
    }
    return !ret && layout->missing.nshort ? -ENOSPC : ret;
}

int dma_layout_open(DmaLayout *layout)
{
    int ret;

    layout->missing.nchanges++;
    if (dma_layout_is_open(layout)) {
        return 0;
    }
    layout->tail.extent = NULL;
    ret = try_open(layout);
    if (ret) {
        dma_layout_close(layout);
        for (DmaExtent *it = dma_extents_find(&layout->extents, 0); it;
             it = dma_extent_next(it)) {
            dma_layout_unmap_extents(layout, it, dma_extent_next(it));
        }
        dma_layout_retry_stuck(layout);
    }
    dma_layout_report_pressure(layout);
    return ret;
}

void dma_layout_close(DmaLayout *layout)
{
    layout->gate = DMA_LAYOUT_CLOSED;
    dma_missing_clear_short(&layout->missing);
}
