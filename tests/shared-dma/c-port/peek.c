/*
 * The state of the C port of DmaLayout, for tests in C++
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vfio/dma-layout-internal.h"
#include "peek.h"

static bool describe(const DmaExtent *found, PeekExtent *extent)
{
    if (!found) {
        return false;
    }
    *extent = (PeekExtent) {
        .iova = found->node.start,
        .size = dma_extent_size(found),
        .vaddr = found->vaddr,
        .access = found->access,
        .large = found->large,
        .joined = found->joined,
        .mapped = found->mapped,
    };
    return true;
}

uint64_t peek_count(const DmaLayout *layout)
{
    return layout->extents.count;
}

bool peek_find(const DmaLayout *layout, uint64_t iova, PeekExtent *extent)
{
    return describe(dma_extents_find(&layout->extents, iova), extent);
}

bool peek_find_after(const DmaLayout *layout, uint64_t iova,
                     PeekExtent *extent)
{
    return iova != UINT64_MAX &&
           describe(dma_extents_find_start(&layout->extents, iova + 1), extent);
}

bool peek_find_before(const DmaLayout *layout, uint64_t iova,
                      PeekExtent *extent)
{
    const RBNode *rb = layout->extents.tree.rb_root.rb_node;
    const DmaExtent *found = NULL;

    while (rb) {
        const DmaExtent *it = container_of(rb, DmaExtent, node.rb);

        if (it->node.start < iova) {
            found = it;
            rb = rb->rb_right;
        } else {
            rb = rb->rb_left;
        }
    }
    return describe(found, extent);
}

bool peek_find_last(const DmaLayout *layout, PeekExtent *extent)
{
    return peek_find_before(layout, UINT64_MAX, extent);
}

const char *peek_broken_invariant(const DmaLayout *layout)
{
    return dma_layout_broken_invariant(layout);
}
