/*
 * Windows in queries of shared memory and DMA mappings
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_SHARED_DMA_VIEW_H
#define SYSTEM_SHARED_DMA_VIEW_H

#include "qapi/qapi-types-shared-dma.h"

/* The maximum number of ranges, and of cells, per object in a query */
#define SHARED_DMA_MAX_RANGES 4096

/* A window, clipped to an object; @ncells is 0 if none were requested. */
typedef struct SharedDmaView {
    uint64_t start;
    uint64_t size;
    uint32_t max;
    uint64_t cell_size;
    uint64_t ncells;
} SharedDmaView;

/* Clip a valid window at @end, which is less than 1 << 63. */
static inline SharedDmaView shared_dma_view(const SharedDmaWindow *window,
                                            uint64_t end)
{
    const uint64_t page_size = qemu_real_host_page_size();
    SharedDmaView view = {
        .start = MIN(window->start, end),
        .max = window->has_max ? window->max : SHARED_DMA_MAX_RANGES,
    };

    view.size = end - view.start;
    if (window->has_size) {
        view.size = MIN(view.size, window->size);
    }
    if (window->has_cells) {
        const uint64_t cell = view.size / window->cells +
                              (view.size % window->cells != 0);

        view.cell_size = ROUND_UP(MAX(cell, page_size), page_size);
        view.ncells = DIV_ROUND_UP(view.size, view.cell_size);
    }
    return view;
}

#endif
