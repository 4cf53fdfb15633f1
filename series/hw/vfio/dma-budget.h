/*
 * The number of extents that a container may have, and the size of new ones
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The kernel limits the number of mappings, its entries.  Some of them are
 * reserved for splits.  As the others are used up, the pressure rises by one
 * level each time that the number of those left halves.  New extents end at
 * the boundaries of blocks, which grow by a factor of 16 with each level; those
 * that exist are not changed.
 *
 * If mappings can be cut, neither their number nor their size matters.
 *
 * A DmaBudget is a plain value.  @used is the number of extents there are.
 */

#ifndef HW_VFIO_DMA_BUDGET_H
#define HW_VFIO_DMA_BUDGET_H

/* Size of a superpage of an IOMMU */
#define DMA_BUDGET_BLOCK (UINT64_C(2) << 20)
/* Size of the largest superpage */
#define DMA_BUDGET_LARGE_BLOCK (UINT64_C(1) << 30)
/* Number of bits by which block sizes grow with each level of pressure */
#define DMA_BUDGET_GROWTH_SHIFT 4
/* Larger than any extent, unless it crosses the middle of all IOVAs */
#define DMA_BUDGET_UNCUT (UINT64_C(1) << 63)

typedef struct DmaBudget {
    /* Size of extents: DMA_LAYOUT_AUTO, DMA_LAYOUT_PAGE or bytes */
    uint64_t extent_size;
    /* Whether there may be any number of extents of any size */
    bool is_unlimited;
    /* Maximum number of extents without the reserve for splits */
    uint64_t limit;
    /* Maximum number of extents with the reserve */
    uint64_t hard_limit;
} DmaBudget;

void dma_budget_init(DmaBudget *budget);
/* From now on, there may be any number of extents of any size. */
void dma_budget_set_unlimited(DmaBudget *budget);
/* The kernel grants @limit entries, or any number: DMA_LAYOUT_NO_LIMIT. */
void dma_budget_set_kernel_limit(DmaBudget *budget, uint64_t limit);

/* Whether each extent is one page, regardless of the pressure */
bool dma_budget_is_fixed(const DmaBudget *budget);
/* Return the number of extents that may be added. */
uint64_t dma_budget_room(const DmaBudget *budget, uint64_t used);
/*
 * Return the number of extents that one request may add: half of the room, so
 * that there is some for the next one.
 */
uint64_t dma_budget_share(const DmaBudget *budget, uint64_t used);
unsigned int dma_budget_pressure(const DmaBudget *budget, uint64_t used);
/* Return the size of blocks, in bytes. */
uint64_t dma_budget_block_size(const DmaBudget *budget, uint64_t used);

#endif
