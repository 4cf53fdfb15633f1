/*
 * The state of the C port of DmaLayout, for tests in C++
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * C++ code includes this inside extern "C", after <cstdint>.
 */

#ifndef TESTS_SHARED_DMA_C_PORT_PEEK_H
#define TESTS_SHARED_DMA_C_PORT_PEEK_H

#include "hw/vfio/dma-layout-c.h"

/* An extent and all its properties */
typedef struct PeekExtent {
    uint64_t iova;
    uint64_t size;
    uint64_t vaddr;
    DmaLayoutAccess access;
    bool large;
    bool joined;
    bool mapped;
} PeekExtent;

uint64_t peek_count(const DmaLayout *layout);

/* Find the first extent that ends at @iova or later; returns whether it is. */
bool peek_find(const DmaLayout *layout, uint64_t iova, PeekExtent *extent);
/* Find the first extent that starts after @iova; returns whether it is. */
bool peek_find_after(const DmaLayout *layout, uint64_t iova,
                     PeekExtent *extent);
/* Find the last extent that starts before @iova; returns whether it is. */
bool peek_find_before(const DmaLayout *layout, uint64_t iova,
                      PeekExtent *extent);
/* Find the last extent; returns whether there is one. */
bool peek_find_last(const DmaLayout *layout, PeekExtent *extent);

/* See dma_layout_broken_invariant(). */
const char *peek_broken_invariant(const DmaLayout *layout);

#endif
