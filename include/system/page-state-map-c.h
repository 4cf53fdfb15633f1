/*
 * Which pages of a RAM block are shared with the host: C interface
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * system/page-state-map.h explains the structure and what it costs.  A map is
 * not locked: its owner serializes access.  Ranges are given as @first and
 * @npages, in pages, and lie within the map.  @shared names a state: shared
 * when true, private when false.
 *
 * C++ code includes this inside extern "C", after <cstdint>.
 */

#ifndef SYSTEM_PAGE_STATE_MAP_C_H
#define SYSTEM_PAGE_STATE_MAP_C_H

typedef struct PageStateMap PageStateMap;

/* A run of pages changed its state. */
typedef void PageStateMapChanged(void *opaque, uint64_t first,
                                 uint64_t npages);

/*
 * Make a map of @npages pages, all private.  Returns NULL when there is no
 * memory for it.  page_state_map_free() takes it back; NULL is allowed there.
 */
PageStateMap *page_state_map_new(uint64_t npages);
void page_state_map_free(PageStateMap *map);

/*
 * Convert a range, which may be mixed.  @changed, unless NULL, is called in
 * ascending order for each run of pages that did not have the state before;
 * it must not change the map.  Returns the number of pages that changed.
 */
uint64_t page_state_map_convert(PageStateMap *map, uint64_t first,
                                uint64_t npages, bool shared,
                                PageStateMapChanged *changed, void *opaque);

/* Whether all pages of a range have a state; true for an empty range. */
bool page_state_map_all(const PageStateMap *map, uint64_t first,
                        uint64_t npages, bool shared);

/*
 * Find the first run of pages of a state in a range, cut at the borders of
 * the range.  Returns false, and sets nothing, when there is none.
 */
bool page_state_map_next_run(const PageStateMap *map, uint64_t first,
                             uint64_t npages, bool shared,
                             uint64_t *run_first, uint64_t *run_npages);

/* How many pages of a range, and how many of all pages, are shared. */
uint64_t page_state_map_count_shared(const PageStateMap *map, uint64_t first,
                                     uint64_t npages);
uint64_t page_state_map_nshared(const PageStateMap *map);

/* In how many runs all shared pages are.  O(1). */
uint64_t page_state_map_nruns(const PageStateMap *map);

#endif
