/*
 * The number of extents that a container may have, and the size of new ones
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vfio/dma-layout-c.h"
#include "dma-budget.h"
#include "dma-extents.h"

/*
 * Entries that are reserved for splits.  One split takes at most as many as the
 * size of an extent has bits.
 */
#define SPLIT_RESERVE UINT64_C(64)
/*
 * Maximum number of extents if the kernel sets no limit.  Each takes about 80
 * bytes of QEMU's memory and 450 of the kernel's, together half a GiB.
 */
#define MAX_EXTENTS (UINT64_C(1) << 20)
/* At this level, a page has grown beyond the largest block. */
#define MAX_PRESSURE 5

static void set_limit(DmaBudget *budget, uint64_t limit)
{
    budget->hard_limit = budget->limit = limit;
    if (!dma_budget_is_fixed(budget) && !budget->is_unlimited) {
        budget->limit -= MIN(SPLIT_RESERVE, limit / 4);
    }
}

void dma_budget_init(DmaBudget *budget)
{
    budget->extent_size = DMA_LAYOUT_AUTO;
    budget->is_unlimited = false;
    set_limit(budget, MAX_EXTENTS);
}

void dma_budget_set_unlimited(DmaBudget *budget)
{
    budget->is_unlimited = true;
    set_limit(budget, DMA_LAYOUT_NO_LIMIT);
}

void dma_budget_set_kernel_limit(DmaBudget *budget, uint64_t limit)
{
    if (budget->is_unlimited) {
        return;
    }
    if (limit == DMA_LAYOUT_NO_LIMIT && !dma_budget_is_fixed(budget)) {
        limit = MAX_EXTENTS;
    }
    set_limit(budget, limit);
}

bool dma_budget_is_fixed(const DmaBudget *budget)
{
    return budget->extent_size == DMA_LAYOUT_PAGE;
}

uint64_t dma_budget_room(const DmaBudget *budget, uint64_t used)
{
    return used < budget->limit ? budget->limit - used : 0;
}

uint64_t dma_budget_share(const DmaBudget *budget, uint64_t used)
{
    const uint64_t left = dma_budget_room(budget, used);

    return dma_budget_is_fixed(budget) ? left : left - left / 2;
}

unsigned int dma_budget_pressure(const DmaBudget *budget, uint64_t used)
{
    const uint64_t left = dma_budget_room(budget, used);
    unsigned int level = 0;

    if (left >= budget->limit / 2 || dma_budget_is_fixed(budget)) {
        return 0;
    }
    while (level < MAX_PRESSURE && left < budget->limit >> (level + 1)) {
        level++;
    }
    return level;
}

uint64_t dma_budget_block_size(const DmaBudget *budget, uint64_t used)
{
    const uint64_t block = budget->extent_size == DMA_LAYOUT_AUTO
                               ? DMA_BUDGET_BLOCK
                               : budget->extent_size;
    unsigned int shift;

    if (budget->is_unlimited) {
        return DMA_BUDGET_UNCUT;
    }
    if (dma_budget_is_fixed(budget)) {
        return DMA_LAYOUT_PAGE_SIZE;
    }
    shift = DMA_BUDGET_GROWTH_SHIFT * dma_budget_pressure(budget, used);
    /* A hole in a larger block would unmap too much. */
    return MAX(block, MIN(block << shift, DMA_BUDGET_LARGE_BLOCK));
}
