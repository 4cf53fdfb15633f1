/*
 * The IOMMU mappings of a container's populated memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dma-layout-internal.h"

/* Maximum number of missing extents to try again in one request */
#define MAX_RETRIES 16

DmaLayout *dma_layout_new(const DmaLayoutBackend *backend, void *opaque)
{
    DmaLayout *layout = g_new0(DmaLayout, 1);

    layout->backend = *backend;
    layout->opaque = opaque;
    layout->gate = DMA_LAYOUT_CLOSED;
    dma_budget_init(&layout->budget);
    dma_layout_init_streams(&layout->streams);
    dma_missing_init(&layout->missing);
    return layout;
}

void dma_layout_free(DmaLayout *layout)
{
    DmaExtent *extent;
    IntervalTreeNode *range;

    if (!layout) {
        return;
    }
    while ((extent = dma_extents_find(&layout->extents, 0))) {
        dma_layout_erase(layout, extent);
    }
    while ((range = dma_stuck_first(&layout->stuck))) {
        dma_stuck_erase(&layout->stuck, range);
    }
    dma_missing_destroy(&layout->missing);
    g_free(layout);
}

/* Backend */

int dma_layout_map(DmaLayout *layout, const DmaExtent *extent)
{
    const int ret = layout->backend.map(
        layout->opaque, extent->node.start, dma_extent_size(extent),
        extent->vaddr, extent->access);

    layout->map_calls++;
    layout->failures += ret != 0;
    return ret;
}

static int unmap(DmaLayout *layout, uint64_t iova, uint64_t last)
{
    const int ret =
        layout->backend.unmap(layout->opaque, iova, last - iova + 1);

    layout->unmap_calls++;
    layout->failures += ret != 0;
    return ret;
}

int dma_layout_cut(DmaLayout *layout, uint64_t iova, uint64_t last)
{
    const int ret = layout->backend.cut(layout->opaque, iova, last - iova + 1);

    layout->unmap_calls++;
    layout->failures += ret != 0;
    layout->cuts += ret == 0;
    return ret;
}

void dma_layout_event(DmaLayout *layout, DmaLayoutEvent event, uint64_t iova,
                      uint64_t size, uint64_t count)
{
    layout->backend.event(layout->opaque, event, iova, size, count);
}

int dma_layout_map_or_make_room(DmaLayout *layout, const DmaExtent *extent)
{
    int ret = dma_layout_map(layout, extent);

    if (ret == -ENOSPC && !layout->uses_cuts) {
        dma_layout_ask_for_limit(layout);
        if (dma_layout_merge_some(layout, 1, DMA_MERGE_MAPPED)) {
            ret = dma_layout_map(layout, extent);
        }
    }
    return ret;
}

int dma_layout_unmap_extents(DmaLayout *layout, DmaExtent *first,
                             const DmaExtent *end)
{
    uint64_t last = 0;
    int ret = 0;
    bool all;

    while (first != end && !first->mapped) {
        first = dma_extent_next(first);
    }
    if (first == end) {
        return 0;
    }
    for (DmaExtent *it = first; it != end; it = dma_extent_next(it)) {
        if (it->mapped) {
            last = it->node.last;
        }
    }

    all = !unmap(layout, first->node.start, last);

    for (DmaExtent *it = first; it != end; it = dma_extent_next(it)) {
        int err;

        if (!it->mapped) {
            continue;
        }
        /* An extent that cannot be unmapped must not keep others mapped. */
        err = all ? 0 : unmap(layout, it->node.start, it->node.last);
        if (err) {
            ret = err;
        } else {
            dma_extents_mark_unmapped(&layout->extents, it);
        }
    }
    return ret;
}

/* Budget */

void dma_layout_ask_for_limit(DmaLayout *layout)
{
    const uint64_t left = layout->backend.entries_left(layout->opaque);

    dma_budget_set_kernel_limit(&layout->budget,
                                left == DMA_LAYOUT_NO_LIMIT
                                    ? left
                                    : layout->extents.nmapped + left);
}

uint64_t dma_layout_room(const DmaLayout *layout)
{
    return dma_budget_room(&layout->budget, layout->extents.count);
}

uint64_t dma_layout_block_size(const DmaLayout *layout)
{
    return dma_budget_block_size(&layout->budget, layout->extents.count);
}

void dma_layout_report_pressure(DmaLayout *layout)
{
    const unsigned int level =
        dma_budget_pressure(&layout->budget, layout->extents.count);

    if (level != layout->reported_pressure) {
        layout->reported_pressure = level;
        dma_layout_event(layout, DMA_LAYOUT_PRESSURE, 0,
                         dma_layout_block_size(layout), layout->extents.count);
    }
}

uint64_t dma_layout_count_blocks(uint64_t iova, uint64_t last, uint64_t block)
{
    return last / block - iova / block + 1;
}

/* Missing extents */

void dma_layout_erase(DmaLayout *layout, DmaExtent *extent)
{
    dma_missing_remove(&layout->missing, extent);
    dma_extents_erase(&layout->extents, extent);
}

DmaExtent *dma_layout_divide(DmaLayout *layout, DmaExtent *extent,
                             uint64_t iova)
{
    dma_missing_remove(&layout->missing, extent);
    return dma_extents_divide(&layout->extents, extent, iova);
}

void dma_layout_set_missing(DmaLayout *layout, DmaExtent *extent, int err)
{
    dma_missing_add(&layout->missing, extent, err);
    dma_layout_event(layout, DMA_LAYOUT_MISSING, extent->node.start,
                     dma_extent_size(extent), -err);
}

/* Try again to map a missing extent.  Returns the result of map(). */
static int retry(DmaLayout *layout, DmaExtent *extent)
{
    const int ret = dma_layout_map_or_make_room(layout, extent);

    if (ret) {
        dma_missing_failed_again(&layout->missing, extent, ret);
    } else {
        dma_missing_remove(&layout->missing, extent);
        dma_extents_mark_mapped(&layout->extents, extent);
        dma_layout_event(layout, DMA_LAYOUT_RECOVERED, extent->node.start,
                         dma_extent_size(extent), 1);
    }
    return ret;
}

void dma_layout_retry_missing(DmaLayout *layout)
{
    unsigned int ntried = 0;
    DmaExtent *extent;

    for (; ntried < MAX_RETRIES; ntried++) {
        extent = dma_missing_next_short(&layout->missing);
        if (!extent || dma_missing_is_shortage(retry(layout, extent))) {
            break;
        }
    }
    for (; dma_layout_is_open(layout) && ntried < MAX_RETRIES; ntried++) {
        extent = dma_missing_next_due(&layout->missing);
        if (!extent || dma_missing_is_shortage(retry(layout, extent))) {
            break;
        }
    }
}

/* Extent size */

/* Replace all extents, none of which is missing. */
static void restore_extents(DmaLayout *layout, const GArray *extents)
{
    dma_extents_clear(&layout->extents);
    for (guint i = 0; i < extents->len; i++) {
        dma_extents_insert(&layout->extents,
                           &g_array_index(extents, DmaExtent, i));
    }
}

/* Replace all extents, none of which is missing, by others of block size. */
static void resize_extents(DmaLayout *layout, const GArray *extents)
{
    DmaExtent *added;

    dma_extents_clear(&layout->extents);
    for (guint i = 0; i < extents->len; i++) {
        dma_layout_add(layout, &g_array_index(extents, DmaExtent, i),
                       dma_layout_room(layout), &added);
    }
}

int dma_layout_set_extent_size(DmaLayout *layout, uint64_t extent_size)
{
    DmaBudget *budget = &layout->budget;
    const uint64_t old_size = budget->extent_size;
    const uint64_t count = layout->extents.count;
    g_autoptr(GArray) old = NULL;
    uint64_t blocks = 0;

    if (layout->was_open) {
        return -EBUSY;
    }
    if (layout->uses_cuts) {
        return extent_size == DMA_LAYOUT_AUTO ? 0 : -EBUSY;
    }

    layout->tail.extent = NULL;
    budget->extent_size = extent_size;
    dma_layout_ask_for_limit(layout);
    old = g_array_sized_new(FALSE, FALSE, sizeof(DmaExtent), count);
    for (DmaExtent *extent = dma_extents_find(&layout->extents, 0); extent;
         extent = dma_extent_next(extent)) {
        g_array_append_val(old, *extent);
        blocks += dma_layout_count_blocks(extent->node.start,
                                          extent->node.last,
                                          dma_layout_block_size(layout));
    }
    if (!dma_budget_is_fixed(budget) && blocks > budget->limit / 2) {
        /* Larger extents are better than too many. */
        dma_layout_make_room(layout, 0);
        if (layout->extents.count <= budget->limit) {
            return 0;
        }
    }
    if (blocks > budget->limit) {
        restore_extents(layout, old);
        budget->extent_size = old_size;
        dma_layout_ask_for_limit(layout);
        return -ENOSPC;
    }
    resize_extents(layout, old);
    return 0;
}

/* Statistics and queries */

bool dma_layout_uses_cuts(const DmaLayout *layout)
{
    return layout->uses_cuts;
}

bool dma_layout_is_open(const DmaLayout *layout)
{
    return layout->gate == DMA_LAYOUT_OPEN;
}

uint64_t dma_layout_count_mapped(const DmaLayout *layout)
{
    return layout->extents.nmapped;
}

bool dma_layout_next_extent(const DmaLayout *layout, uint64_t iova,
                            uint64_t last, DmaLayoutExtent *extent)
{
    const DmaExtent *found = dma_extents_find(&layout->extents, iova);

    if (!found || found->node.start > last) {
        return false;
    }
    *extent = (DmaLayoutExtent) {
        .iova = found->node.start,
        .size = dma_extent_size(found),
        .mapped = found->mapped,
    };
    return true;
}

uint64_t dma_layout_last(const DmaLayout *layout)
{
    return dma_extents_last(&layout->extents);
}

void dma_layout_get_stats(const DmaLayout *layout, DmaLayoutStats *stats)
{
    const DmaExtents *extents = &layout->extents;
    const DmaBudget *budget = &layout->budget;
    const uint64_t stuck_size = dma_stuck_size(&layout->stuck);
    const bool is_open = dma_layout_is_open(layout);

    *stats = (DmaLayoutStats) {
        .extents = extents->count,
        .mapped_extents = extents->nmapped,
        .largest_extent = dma_extents_largest(extents),
        .smallest_extent = dma_extents_smallest(extents),
        .block_size = dma_layout_block_size(layout),
        .populated_size = extents->total_size - stuck_size,
        .mapped_size = extents->mapped_size,
        .missing_size =
            is_open ? extents->total_size - extents->mapped_size : 0,
        .stuck_size = stuck_size,
        .map_calls = layout->map_calls,
        .unmap_calls = layout->unmap_calls,
        .failures = layout->failures,
        .cuts = layout->cuts,
        .splits = layout->splits,
        .merges = layout->merges,
        .entries_left = budget->limit == DMA_LAYOUT_NO_LIMIT
                            ? DMA_LAYOUT_NO_LIMIT
                            : dma_layout_room(layout),
        .entries_limit = budget->hard_limit,
        .entries_reserve = budget->hard_limit - budget->limit,
    };
    memcpy(stats->by_order, extents->by_order, sizeof(stats->by_order));
}
