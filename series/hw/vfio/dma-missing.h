/*
 * Extents that could not be mapped, and when to try again
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An extent is *short* if there were not enough entries or memory: it can be
 * tried again at any time, and short extents take turns.  It is *refused* if
 * the kernel does not map it for any other reason, such as an address beyond
 * the IOMMU's width: it is tried again immediately, and then after 1, 2, 4 and
 * so on changes of the layout, at most 65536.
 */

#ifndef HW_VFIO_DMA_MISSING_H
#define HW_VFIO_DMA_MISSING_H

#include "dma-extents.h"

/* What is known of an extent that is missing */
struct DmaMissingExtent {
    DmaExtent *extent;
    bool is_refused;
    /* In the tree of short extents, at the IOVA, unless it is refused */
    IntervalTreeNode short_node;
    /* The change of the layout from which on a refused extent is due */
    uint64_t due;
    uint64_t delay;
};

typedef struct DmaMissing {
    IntervalTreeRoot short_extents;
    uint64_t nshort;
    /* The refused extents by their due and their IOVA */
    GTree *refused;
    /* Where the search for the next short extent continues */
    uint64_t short_hand;
    /* Number of changes of the layout */
    uint64_t nchanges;
} DmaMissing;

void dma_missing_init(DmaMissing *missing);
/* Free what belongs to @missing, which must be empty. */
void dma_missing_destroy(DmaMissing *missing);

/* Whether a mapping failed for lack of entries or memory */
static inline bool dma_missing_is_shortage(int err)
{
    return err == -ENOSPC || err == -ENOMEM;
}

/*
 * An extent is missing because of @err, or for the same reason as before if
 * that is 0; it is short if there was none.
 */
void dma_missing_add(DmaMissing *missing, DmaExtent *extent, int err);
/* Record that trying a missing extent again failed with @err. */
void dma_missing_failed_again(DmaMissing *missing, DmaExtent *extent, int err);
/* An extent is no longer missing, if it was. */
void dma_missing_remove(DmaMissing *missing, DmaExtent *extent);
/* Remove all short extents; keep refused ones. */
void dma_missing_clear_short(DmaMissing *missing);

/* Whether no extent is missing */
bool dma_missing_is_empty(const DmaMissing *missing);

static inline bool dma_missing_is_refused(const DmaExtent *extent)
{
    return extent->missing && extent->missing->is_refused;
}

/* Whether it is too early to try an extent again */
bool dma_missing_is_put_off(const DmaMissing *missing,
                            const DmaExtent *extent);

/* Return the short extent whose turn it is, or NULL. */
DmaExtent *dma_missing_next_short(DmaMissing *missing);
/* Return the refused extent that has been due longest, or NULL. */
DmaExtent *dma_missing_next_due(const DmaMissing *missing);

#endif
