/*
 * Merging the extents of a DmaLayout, to gain entries
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dma-layout-internal.h"

/* Number of extents that are visited before larger blocks are tried */
#define MAX_VISITED UINT64_C(1024)

/* Sizes of the blocks in which extents are merged, one after the other */
static const uint64_t merged_blocks[] = {
    DMA_BUDGET_BLOCK,
    DMA_BUDGET_BLOCK << DMA_BUDGET_GROWTH_SHIFT,
    DMA_BUDGET_BLOCK << 2 * DMA_BUDGET_GROWTH_SHIFT,
    DMA_BUDGET_LARGE_BLOCK,
};

/* Map the extents from @first to before @end that are not mapped. */
static void map_again(DmaLayout *layout, DmaExtent *first, DmaExtent *end)
{
    for (DmaExtent *it = first; it != end; it = dma_extent_next(it)) {
        int err;

        if (it->mapped) {
            continue;
        }
        err = dma_layout_map(layout, it);
        if (!err) {
            dma_extents_mark_mapped(&layout->extents, it);
        } else if (dma_layout_is_open(layout)) {
            dma_layout_set_missing(layout, it, err);
        }
    }
}

/* Map a run, which is mapped, as one mapping.  Returns whether it is one. */
static bool map_as_one(DmaLayout *layout, const DmaRun *run)
{
    const uint64_t iova = run->first->node.start;
    const DmaExtent merged = {
        .node.start = iova,
        .node.last = run->last,
        .vaddr = run->first->vaddr,
        .access = run->first->access,
    };

    /* Stuck memory must not be mapped again. */
    if (!dma_stuck_is_empty(&layout->stuck)) {
        return false;
    }
    if (dma_layout_unmap_extents(layout, run->first, run->end) ||
        dma_layout_map(layout, &merged)) {
        map_again(layout, run->first, run->end);
        return false;
    }
    layout->merges++;
    dma_layout_event(layout, DMA_LAYOUT_MERGE, iova, run->last - iova + 1,
                     run->count);
    return true;
}

uint64_t dma_layout_merge(DmaLayout *layout, const DmaRun *run)
{
    const bool mapped = run->first->mapped;

    if (mapped && !map_as_one(layout, run)) {
        return 0;
    }
    for (DmaExtent *it = run->first; it != run->end; it = dma_extent_next(it)) {
        dma_missing_remove(&layout->missing, it);
    }
    dma_extents_join(&layout->extents, run->first, run->end);
    if (mapped) {
        dma_extents_mark_mapped(&layout->extents, run->first);
    }
    return run->count - 1;
}

DmaRun dma_layout_find_run(DmaExtent *first, const DmaMergeRule *rule,
                           uint64_t max)
{
    const uint64_t block = first->node.start / rule->block;
    DmaExtent *it = first;
    DmaExtent *next = dma_extent_next(first);
    uint64_t count = 1;

    while (count < max && next && dma_extent_can_join(it, next) &&
           (next->joined || !rule->joined_only) &&
           next->node.last / rule->block == block) {
        it = next;
        next = dma_extent_next(it);
        count++;
    }
    return (DmaRun) {
        .first = first,
        .end = next,
        .count = count,
        .last = it->node.last,
    };
}

/*
 * Visit @todo extents, and merge those that @rule allows until @wanted entries
 * are @gained.  Returns false if the kernel fails.
 */
static bool merge_round(DmaLayout *layout, const DmaMergeRule *rule,
                        uint64_t todo, uint64_t wanted, uint64_t *gained)
{
    DmaExtents *extents = &layout->extents;
    DmaExtent *it = dma_extents_find_start(extents, layout->merge_hand);
    bool kernel_ok = true;

    while (todo && *gained < wanted && extents->nseams[rule->mapped] &&
           kernel_ok) {
        DmaExtent *first = it ? it : dma_extents_find(extents, 0);
        /*
         * Merge a block as a whole, so that it is done only once.  One more is
         * merged than entries are gained.
         */
        const uint64_t max = rule->block == DMA_BUDGET_UNCUT
                                 ? wanted - *gained + 1
                                 : UINT64_MAX;
        const DmaRun run = dma_layout_find_run(first, rule, max);

        if (run.count > 1 && first->mapped == rule->mapped) {
            const uint64_t more = dma_layout_merge(layout, &run);

            *gained += more;
            kernel_ok = more != 0;
        }
        todo -= MIN(todo, run.count);
        it = run.end;
    }
    layout->merge_hand = it ? it->node.start : 0;
    return kernel_ok;
}

uint64_t dma_layout_merge_some(DmaLayout *layout, uint64_t wanted,
                               DmaMerging merging)
{
    /* Visit all extents only if there is nothing to merge nearby. */
    static const uint64_t visits[] = { MAX_VISITED, UINT64_MAX };
    static const bool streams_only[] = { true, false };
    const uint64_t batch = MAX(wanted, DMA_LAYOUT_MERGE_BATCH);
    DmaMergeRule rule = {
        .mapped = merging == DMA_MERGE_MAPPED,
    };
    uint64_t gained = 0;

    if (dma_budget_is_fixed(&layout->budget)) {
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(visits); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(streams_only); j++) {
            for (size_t k = 0; k < ARRAY_SIZE(merged_blocks); k++) {
                rule.joined_only = streams_only[j];
                rule.block = merged_blocks[k];
                if (!merge_round(layout, &rule,
                                 MIN(visits[i], layout->extents.count), batch,
                                 &gained) ||
                    gained >= wanted) {
                    return gained;
                }
            }
        }
    }
    rule.joined_only = false;
    rule.block = DMA_BUDGET_UNCUT;
    merge_round(layout, &rule, layout->extents.count, batch, &gained);
    return gained;
}

/*
 * Return the number of extents that are too many for @wanted more.  The limit
 * can be exceeded already, if other mappings took entries.
 */
static uint64_t count_excess(const DmaLayout *layout, uint64_t wanted)
{
    const uint64_t count = layout->extents.count + wanted;

    return count > layout->budget.limit ? count - layout->budget.limit : 0;
}

void dma_layout_make_room(DmaLayout *layout, uint64_t wanted)
{
    uint64_t excess = count_excess(layout, wanted);

    /* Merging unmapped extents needs no calls. */
    if (!dma_layout_is_open(layout) && excess) {
        dma_layout_merge_some(layout, excess, DMA_MERGE_UNMAPPED);
        excess = count_excess(layout, wanted);
    }
    if (excess) {
        dma_layout_merge_some(layout, excess, DMA_MERGE_MAPPED);
    }
}
