/*
 * QMP commands that query shared memory and DMA to it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-shared-dma.h"
#include "hw/qdev-core.h"
#include "hw/vfio/vfio-dma-layout.h"
#include "system/guest-memfd-manager.h"
#include "system/shared-dma-compat.h"
#include "system/shared-dma-view.h"

/* Windows */

static bool shared_dma_check_count(bool has_count, uint32_t count,
                                   const char *name, Error **errp)
{
    if (has_count && (!count || count > SHARED_DMA_MAX_RANGES)) {
        error_setg(errp, "'%s' is %" PRIu32 " but must be between 1 and %d",
                   name, count, SHARED_DMA_MAX_RANGES);
        return false;
    }
    return true;
}

static bool shared_dma_check_window(const SharedDmaWindow *window,
                                    Error **errp)
{
    const uint64_t page_size = qemu_real_host_page_size();

    if (!window) {
        return true;
    }
    if (!QEMU_IS_ALIGNED(window->start | window->size, page_size)) {
        error_setg(errp, "'start' and 'size' must be multiples of the page"
                   " size, %" PRIu64, page_size);
        return false;
    }
    return shared_dma_check_count(window->has_max, window->max, "max", errp) &&
           shared_dma_check_count(window->has_cells, window->cells, "cells",
                                  errp);
}

/* RAM blocks */

static gint shared_dma_compare_managers(gconstpointer a, gconstpointer b)
{
    return strcmp(guest_memfd_manager_id(a), guest_memfd_manager_id(b));
}

/*
 * Find all managers, or that of one RAM block, sorted by ID.  A block has no ID
 * before it is plugged and after it is unplugged, and is left out then.
 */
static GList *shared_dma_find_managers(const char *id)
{
    GList *managers = NULL;
    RAMBlock *block;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(block) {
        if (block->guest_memfd >= 0 && block->idstr[0] &&
            (!id || !strcmp(id, block->idstr))) {
            managers = g_list_insert_sorted(
                managers, guest_memfd_manager_from_region(block->mr),
                shared_dma_compare_managers);
        }
    }
    return managers;
}

/* State of a walk over the sections of a RAM block that the guest sees */
typedef struct SharedDmaSectionWalk {
    const MemoryRegion *mr;
    GuestMemfdSectionList **tail;
} SharedDmaSectionWalk;

static bool shared_dma_add_section(Int128 start, Int128 len,
                                   const MemoryRegion *mr,
                                   hwaddr offset_in_region, void *opaque)
{
    SharedDmaSectionWalk *walk = opaque;

    if (mr == walk->mr) {
        GuestMemfdSection *section = g_new0(GuestMemfdSection, 1);

        section->gpa = int128_get64(start);
        section->offset = offset_in_region;
        section->size = int128_get64(len);
        QAPI_LIST_APPEND(walk->tail, section);
    }
    return false;
}

static GuestMemfdSectionList *
shared_dma_list_sections(const MemoryRegion *mr)
{
    GuestMemfdSectionList *sections = NULL;
    SharedDmaSectionWalk walk = { .mr = mr, .tail = &sections };

    RCU_READ_LOCK_GUARD();
    flatview_for_each_range(address_space_to_flatview(&address_space_memory),
                            shared_dma_add_section, &walk);
    return sections;
}

GuestMemfdInfoList *qmp_query_guest_memfd(const char *id,
                                          SharedDmaWindow *ranges,
                                          Error **errp)
{
    g_autoptr(GList) managers = NULL;
    GuestMemfdInfoList *list = NULL, **tail = &list;

    if (!shared_dma_check_window(ranges, errp)) {
        return NULL;
    }
    managers = shared_dma_find_managers(id);
    if (id && !managers) {
        error_setg(errp, "there is no RAM block '%s' with a guest_memfd", id);
        return NULL;
    }
    for (GList *it = managers; it; it = it->next) {
        GuestMemfdInfo *info = guest_memfd_manager_query(it->data, ranges);

        /* A manager is the child of its region. */
        info->sections =
            shared_dma_list_sections(MEMORY_REGION(OBJECT(it->data)->parent));
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}

/* VFIO containers */

static gint shared_dma_compare_paths(gconstpointer a, gconstpointer b)
{
    const Object *container_a = ((const Object *)a)->parent;
    const Object *container_b = ((const Object *)b)->parent;
    g_autofree char *path_a = object_get_canonical_path(container_a);
    g_autofree char *path_b = object_get_canonical_path(container_b);

    return strcmp(path_a, path_b);
}

/* Find a layout by its type, because VFIO may not be built. */
static Object *shared_dma_layout_of(Object *container)
{
    Object *layout = object_resolve_path_component(container, "dma-layout");

    return layout ? object_dynamic_cast(layout, TYPE_VFIO_DMA_LAYOUT) : NULL;
}

static int shared_dma_add_layout(Object *container, void *opaque)
{
    GList **layouts = opaque;
    Object *layout = shared_dma_layout_of(container);

    if (layout) {
        *layouts = g_list_insert_sorted(*layouts, layout,
                                        shared_dma_compare_paths);
    }
    return 0;
}

static GList *shared_dma_find_layouts(const char *qom_path)
{
    GList *layouts = NULL;
    Object *container;

    if (!qom_path) {
        object_child_foreach(qdev_get_machine(), shared_dma_add_layout,
                             &layouts);
        return layouts;
    }
    container = object_resolve_path(qom_path, NULL);
    if (container) {
        shared_dma_add_layout(container, &layouts);
    }
    return layouts;
}

VfioDmaInfoList *qmp_x_query_vfio_dma(const char *qom_path,
                                    SharedDmaWindow *ranges, Error **errp)
{
    g_autoptr(GList) layouts = NULL;
    VfioDmaInfoList *list = NULL, **tail = &list;

    if (!shared_dma_check_window(ranges, errp)) {
        return NULL;
    }
    layouts = shared_dma_find_layouts(qom_path);
    if (qom_path && !layouts) {
        error_setg(errp, "there is no VFIO container '%s'", qom_path);
        return NULL;
    }
    for (GList *it = layouts; it; it = it->next) {
        VFIODmaLayoutClass *vdlc = VFIO_DMA_LAYOUT_GET_CLASS(it->data);

        QAPI_LIST_APPEND(tail, vdlc->query(it->data, ranges));
    }
    return list;
}
