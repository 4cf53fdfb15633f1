/*
 * Shared and private pages of a RAM block with a guest_memfd: queries
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qapi/qapi-types-shared-dma.h"
#include "system/guest-memfd-internal.h"
#include "system/shared-dma-compat.h"
#include "system/shared-dma-view.h"

const char *guest_memfd_manager_id(const GuestMemfdManager *gmm)
{
    return gmm->mr->ram_block->idstr;
}

static GuestMemfdFailure *guest_memfd_get_last_failure(GuestMemfdManager *gmm)
{
    GuestMemfdLastFailure last;
    GuestMemfdFailure *failure;

    WITH_QEMU_LOCK_GUARD(&gmm->last_failure_lock) {
        last = gmm->last_failure;
    }
    if (!last.err) {
        return NULL;
    }
    failure = g_new0(GuestMemfdFailure, 1);
    failure->offset = last.offset;
    failure->size = last.size;
    failure->to_private = last.to == PAGE_STATE_PRIVATE;
    failure->error = g_strdup(strerror(last.err));
    return failure;
}

static void guest_memfd_get_stats(const GuestMemfdManager *gmm,
                                  GuestMemfdStats *stats)
{
#define GUEST_MEMFD_GET_STAT(name, label) \
    stats->name = stat64_get(&gmm->stats.name);
    GUEST_MEMFD_STATS(GUEST_MEMFD_GET_STAT)
#undef GUEST_MEMFD_GET_STAT
    /* GUEST_MEMFD_STATS has all members that QAPI declares. */
    QEMU_BUILD_BUG_ON(sizeof(gmm->stats) / sizeof(gmm->stats.failures) !=
                      sizeof(*stats) / sizeof(stats->failures));
}

static void guest_memfd_list_ranges(GuestMemfdManager *gmm,
                                    const SharedDmaView *view,
                                    GuestMemfdWindow *out)
{
    GuestMemfdRangeList **tail = &out->ranges;
    const uint64_t end = view->start + view->size;
    uint64_t offset = view->start, size = view->size;
    uint32_t n;

    for (n = 0; guest_memfd_next_shared(gmm, &offset, &size); n++) {
        GuestMemfdRange *range;

        if (n == view->max) {
            out->more = true;
            return;
        }
        range = g_new0(GuestMemfdRange, 1);
        range->offset = offset;
        range->size = size;
        QAPI_LIST_APPEND(tail, range);
        offset += size;
        size = end - offset;
    }
}

static void guest_memfd_list_cells(GuestMemfdManager *gmm,
                                   const SharedDmaView *view,
                                   GuestMemfdWindow *out)
{
    uint64List **tail = &out->cells;
    const uint64_t end = view->start + view->size;

    for (uint64_t i = 0; i < view->ncells; i++) {
        const uint64_t start = view->start + i * view->cell_size;
        const uint64_t size = MIN(view->cell_size, end - start);
        uint64_t nshared = page_state_map_count_shared(
            gmm->pages, start / gmm->page_size, size / gmm->page_size);

        QAPI_LIST_APPEND(tail, nshared * gmm->page_size);
    }
}

static GuestMemfdWindow *guest_memfd_get_window(GuestMemfdManager *gmm,
                                                const SharedDmaWindow *window)
{
    const SharedDmaView view =
        shared_dma_view(window, memory_region_size(gmm->mr));
    GuestMemfdWindow *out = g_new0(GuestMemfdWindow, 1);

    out->start = view.start;
    out->size = view.size;
    guest_memfd_list_ranges(gmm, &view, out);
    if (window->has_cells) {
        out->has_cell_size = true;
        out->cell_size = view.cell_size;
        out->has_cells = true;
        guest_memfd_list_cells(gmm, &view, out);
    }
    return out;
}

GuestMemfdInfo *guest_memfd_manager_query(GuestMemfdManager *gmm,
                                          const SharedDmaWindow *window)
{
    GuestMemfdInfo *info = g_new0(GuestMemfdInfo, 1);

    info->id = g_strdup(guest_memfd_manager_id(gmm));
    info->size = memory_region_size(gmm->mr);
    info->page_size = gmm->page_size;

    info->shared_size = stat64_get(&gmm->shared_pages) * gmm->page_size;
    info->private_size = info->size - info->shared_size -
                         stat64_get(&gmm->unplugged_size);
    guest_memfd_get_stats(gmm, qapi_GuestMemfdInfo_base(info));
    info->last_failure = guest_memfd_get_last_failure(gmm);
    if (window) {
        guest_memfd_manager_lock_ahead(gmm);
        info->window = guest_memfd_get_window(gmm, window);
        guest_memfd_manager_unlock(gmm);
    }
    return info;
}
