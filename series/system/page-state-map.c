/*
 * A map of the shared pages of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/hbitmap.h"
#include "system/page-state-map-c.h"

struct PageStateMap {
    /* A bit for each page, set if the page is shared */
    HBitmap *shared;
    uint64_t npages;
    uint64_t nruns;
};

PageStateMap *page_state_map_new(uint64_t npages)
{
    PageStateMap *map = g_new0(PageStateMap, 1);

    map->shared = hbitmap_alloc(npages, 0);
    map->npages = npages;
    return map;
}

void page_state_map_free(PageStateMap *map)
{
    if (map) {
        hbitmap_free(map->shared);
        g_free(map);
    }
}

/* Find the first page in @state from @first to @end; @end if none is. */
static uint64_t page_state_map_find(const PageStateMap *map, uint64_t first,
                                    uint64_t end, PageState state)
{
    int64_t page = -1;

    if (first < end) {
        page = state == PAGE_STATE_SHARED
            ? hbitmap_next_dirty(map->shared, first, end - first)
            : hbitmap_next_zero(map->shared, first, end - first);
    }
    return page < 0 ? end : page;
}

bool page_state_map_next_run(const PageStateMap *map, uint64_t first,
                             uint64_t npages, PageState state,
                             uint64_t *run_first, uint64_t *run_npages)
{
    const uint64_t end = first + npages;
    const uint64_t found = page_state_map_find(map, first, end, state);

    if (found == end) {
        return false;
    }
    *run_first = found;
    *run_npages = page_state_map_find(map, found, end,
                                      page_state_opposite(state)) - found;
    return true;
}

bool page_state_map_all(const PageStateMap *map, uint64_t first,
                        uint64_t npages, PageState state)
{
    const uint64_t end = first + npages;

    return page_state_map_find(map, first, end,
                               page_state_opposite(state)) == end;
}

/* Convert a run of pages, none of which is in @state. */
static void page_state_map_set_run(PageStateMap *map, uint64_t first,
                                   uint64_t npages, PageState state)
{
    const uint64_t end = first + npages;
    const bool before = first && hbitmap_get(map->shared, first - 1);
    const bool after = end < map->npages && hbitmap_get(map->shared, end);
    /* The run is a new one unless it joins, or splits, its neighbours. */
    const int more = 1 - before - after;

    if (state == PAGE_STATE_SHARED) {
        hbitmap_set(map->shared, first, npages);
        map->nruns += more;
    } else {
        hbitmap_reset(map->shared, first, npages);
        map->nruns -= more;
    }
}

uint64_t page_state_map_convert(PageStateMap *map, uint64_t first,
                                uint64_t npages, PageState state,
                                PageStateMapChanged *changed, void *opaque)
{
    const uint64_t end = first + npages;
    uint64_t nchanged = 0, run, run_npages;

    while (page_state_map_next_run(map, first, end - first,
                                   page_state_opposite(state),
                                   &run, &run_npages)) {
        page_state_map_set_run(map, run, run_npages, state);
        if (changed) {
            changed(opaque, run, run_npages);
        }
        nchanged += run_npages;
        first = run + run_npages;
    }
    return nchanged;
}

uint64_t page_state_map_count_shared(const PageStateMap *map, uint64_t first,
                                     uint64_t npages)
{
    const uint64_t end = first + npages;
    uint64_t nshared = 0, run, run_npages;

    while (page_state_map_next_run(map, first, end - first, PAGE_STATE_SHARED,
                                   &run, &run_npages)) {
        nshared += run_npages;
        first = run + run_npages;
    }
    return nshared;
}

uint64_t page_state_map_nshared(const PageStateMap *map)
{
    return hbitmap_count(map->shared);
}

uint64_t page_state_map_nruns(const PageStateMap *map)
{
    return map->nruns;
}
