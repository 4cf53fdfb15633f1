/*
 * Extents that could not be mapped, and when to try again
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dma-missing.h"

/* Maximum number of changes before a refused extent is tried again */
#define MAX_DELAY (UINT64_C(1) << 16)

static gint compare_due(gconstpointer a, gconstpointer b)
{
    const DmaExtent *first = a;
    const DmaExtent *second = b;
    const uint64_t due = first->missing->due;
    const uint64_t other_due = second->missing->due;

    if (due != other_due) {
        return due < other_due ? -1 : 1;
    }
    if (first->node.start != second->node.start) {
        return first->node.start < second->node.start ? -1 : 1;
    }
    return 0;
}

void dma_missing_init(DmaMissing *missing)
{
    *missing = (DmaMissing) {
        .refused = g_tree_new(compare_due),
    };
}

void dma_missing_destroy(DmaMissing *missing)
{
    assert(dma_missing_is_empty(missing));
    g_tree_unref(missing->refused);
}

bool dma_missing_is_empty(const DmaMissing *missing)
{
    return !missing->nshort && !g_tree_nnodes(missing->refused);
}

/* Take a missing extent out of the tree that it is in. */
static void unlink_missing(DmaMissing *missing, DmaMissingExtent *known)
{
    if (known->is_refused) {
        g_tree_remove(missing->refused, known->extent);
    } else {
        interval_tree_remove(&known->short_node, &missing->short_extents);
        missing->nshort--;
    }
}

/* Let a refused extent, which is in no tree, wait for @nchanges. */
static void put_off(DmaMissing *missing, DmaMissingExtent *known,
                    uint64_t nchanges)
{
    known->due = missing->nchanges + nchanges;
    g_tree_insert(missing->refused, known->extent, known->extent);
}

/* Try an extent again immediately, and then at growing intervals. */
static void refuse(DmaMissing *missing, DmaExtent *extent)
{
    DmaMissingExtent *known = extent->missing;

    if (known) {
        unlink_missing(missing, known);
    } else {
        known = extent->missing = g_new0(DmaMissingExtent, 1);
        known->extent = extent;
    }
    if (known->is_refused) {
        known->delay = MIN(MAX(2 * known->delay, 1), MAX_DELAY);
    }
    known->is_refused = true;
    put_off(missing, known, known->delay);
}

void dma_missing_add(DmaMissing *missing, DmaExtent *extent, int err)
{
    DmaMissingExtent *known;

    if (err && !dma_missing_is_shortage(err)) {
        refuse(missing, extent);
    } else if (!extent->missing) {
        known = extent->missing = g_new0(DmaMissingExtent, 1);
        known->extent = extent;
        known->short_node.start = extent->node.start;
        known->short_node.last = extent->node.start;
        interval_tree_insert(&known->short_node, &missing->short_extents);
        missing->nshort++;
    }
}

void dma_missing_failed_again(DmaMissing *missing, DmaExtent *extent, int err)
{
    if (!dma_missing_is_shortage(err)) {
        refuse(missing, extent);
    } else if (dma_missing_is_refused(extent)) {
        unlink_missing(missing, extent->missing);
        put_off(missing, extent->missing, 1);
    }
}

void dma_missing_remove(DmaMissing *missing, DmaExtent *extent)
{
    if (extent->missing) {
        unlink_missing(missing, extent->missing);
        g_free(extent->missing);
        extent->missing = NULL;
    }
}

/* Return the first short extent at @iova or later, or NULL. */
static DmaExtent *find_short(DmaMissing *missing, uint64_t iova)
{
    IntervalTreeNode *node =
        interval_tree_iter_first(&missing->short_extents, iova, UINT64_MAX);

    return node ? container_of(node, DmaMissingExtent, short_node)->extent
                : NULL;
}

void dma_missing_clear_short(DmaMissing *missing)
{
    DmaExtent *extent;

    while ((extent = find_short(missing, 0))) {
        dma_missing_remove(missing, extent);
    }
}

bool dma_missing_is_put_off(const DmaMissing *missing, const DmaExtent *extent)
{
    return dma_missing_is_refused(extent) &&
           extent->missing->due > missing->nchanges;
}

DmaExtent *dma_missing_next_short(DmaMissing *missing)
{
    DmaExtent *next = find_short(missing, missing->short_hand);

    if (!next) {
        next = find_short(missing, 0);
    }
    if (next) {
        missing->short_hand = next->node.start + 1;
    }
    return next;
}

/* Stop at the first element of a tree. */
static gboolean get_first(gpointer key, gpointer value, gpointer data)
{
    DmaExtent **first = data;

    *first = value;
    return TRUE;
}

DmaExtent *dma_missing_next_due(const DmaMissing *missing)
{
    DmaExtent *first = NULL;

    g_tree_foreach(missing->refused, get_first, &first);
    return first && first->missing->due <= missing->nchanges ? first : NULL;
}
