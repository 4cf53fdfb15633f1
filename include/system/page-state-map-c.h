/*
 * A map of the shared pages of a RAM block: C interface
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * system/page-state-map.h explains the data structure and its costs.  A map is
 * not locked: its owner serializes access.  Ranges are given as @first and
 * @npages, in pages, and lie within the map.
 *
 * C++ code includes this inside extern "C", after <cstdint>.
 */

#ifndef SYSTEM_PAGE_STATE_MAP_C_H
#define SYSTEM_PAGE_STATE_MAP_C_H

#include "system/page-state.h"

typedef struct PageStateMap PageStateMap;

/* Called for a run of pages whose state has changed. */
typedef void PageStateMapChanged(void *opaque, uint64_t first,
                                 uint64_t npages);

/*
 * Create a map of @npages pages, all private.  Returns NULL if memory runs out.
 */
PageStateMap *page_state_map_new(uint64_t npages);

/* Free a map; NULL is allowed. */
void page_state_map_free(PageStateMap *map);

/*
 * Convert a range, which may be mixed, to @state.  Call @changed, unless NULL,
 * in ascending order for each run of pages that were in the other state; it
 * must not change the map.  Returns the number of pages that changed.
 */
uint64_t page_state_map_convert(PageStateMap *map, uint64_t first,
                                uint64_t npages, PageState state,
                                PageStateMapChanged *changed, void *opaque);

/* Whether all pages of a range are in @state; true for an empty range. */
bool page_state_map_all(const PageStateMap *map, uint64_t first,
                        uint64_t npages, PageState state);

/*
 * Find the first run of pages in @state in a range, clipped to the range.
 * Returns false, and sets nothing, if there is none.
 */
bool page_state_map_next_run(const PageStateMap *map, uint64_t first,
                             uint64_t npages, PageState state,
                             uint64_t *run_first, uint64_t *run_npages);

/* Count the shared pages of a range. */
uint64_t page_state_map_count_shared(const PageStateMap *map, uint64_t first,
                                     uint64_t npages);

/* Return the number of shared pages in the map.  O(1). */
uint64_t page_state_map_nshared(const PageStateMap *map);

/* Return the number of runs of shared pages in the map.  O(1). */
uint64_t page_state_map_nruns(const PageStateMap *map);

#endif
