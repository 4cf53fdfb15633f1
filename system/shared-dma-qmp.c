/*
 * Queries of shared memory and of DMA to it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-shared-dma.h"
#include "qapi/type-helpers.h"
#include "exec/address-spaces.h"
#include "exec/ramblock.h"
#include "exec/ramlist.h"
#include "hw/qdev-core.h"
#include "hw/vfio/dma-layout-stats.h"
#include "hw/vfio/vfio-dma-layout.h"
#include "monitor/monitor.h"
#include "system/guest-memfd-manager.h"
#include "system/guest-memfd-stats.h"
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

/* HMP commands */

static void G_GNUC_PRINTF(3, 4)
shared_dma_line(GString *buf, const char *name, const char *format, ...)
{
    va_list args;

    g_string_append_printf(buf, "  %-12s  ", name);
    va_start(args, format);
    g_string_append_vprintf(buf, format, args);
    va_end(args);
    g_string_append_c(buf, '\n');
}

static void shared_dma_print_block(GString *buf, const GuestMemfdInfo *info)
{
    g_autofree char *size = size_to_str(info->size);
    g_autofree char *page_size = size_to_str(info->page_size);
    g_autofree char *shared_size = size_to_str(info->shared_size);
    g_autofree char *private_size = size_to_str(info->private_size);

    g_string_append_printf(buf, "%s: %s in pages of %s\n", info->id, size,
                           page_size);
    shared_dma_line(buf, "shared", "%s", shared_size);
    shared_dma_line(buf, "private", "%s", private_size);
#define SHARED_DMA_PRINT_STAT(name, label) \
    shared_dma_line(buf, label, "%" PRIu64, info->name);
    GUEST_MEMFD_STATS(SHARED_DMA_PRINT_STAT)
#undef SHARED_DMA_PRINT_STAT
    if (info->last_failure) {
        const GuestMemfdFailure *failure = info->last_failure;

        shared_dma_line(buf, "last failure", "offset 0x%" PRIx64 "+0x%" PRIx64
                        " to %s:", failure->offset, failure->size,
                        page_state_str(
                            page_state_from_private(failure->to_private)));
        shared_dma_line(buf, "", "%s", failure->error);
    }
    for (GuestMemfdSectionList *it = info->sections; it; it = it->next) {
        g_autofree char *section_size = size_to_str(it->value->size);

        shared_dma_line(buf, it == info->sections ? "guest sees" : "",
                        "%-9s at 0x%016" PRIx64 ", from offset 0x%" PRIx64,
                        section_size, it->value->gpa, it->value->offset);
    }
}

static HumanReadableText *shared_dma_hmp_guest_memfd(Error **errp)
{
    g_autoptr(GString) buf = g_string_new("");
    g_autoptr(GuestMemfdInfoList) list = qmp_query_guest_memfd(NULL, NULL,
                                                               errp);

    if (!list) {
        g_string_append(buf, "No RAM block has a guest_memfd.\n");
    }
    for (GuestMemfdInfoList *it = list; it; it = it->next) {
        shared_dma_print_block(buf, it->value);
    }
    return human_readable_text_from_str(buf);
}

static void shared_dma_print_devices(GString *buf, VfioDmaDeviceList *list)
{
    for (VfioDmaDeviceList *it = list; it; it = it->next) {
        const VfioDmaDevice *device = it->value;

        shared_dma_line(buf, it == list ? "devices" : "", "%s (%s), %s",
                        device->id ?: "no id", device->name,
                        device->may_do_dma ? "may do DMA"
                        : device->refused ? "DMA was refused"
                        : "may not do DMA");
    }
}

static void shared_dma_print_sizes(GString *buf, VfioDmaExtentCountList *list)
{
    for (VfioDmaExtentCountList *it = list; it; it = it->next) {
        g_autofree char *size = size_to_str(it->value->size);

        shared_dma_line(buf, it == list ? "by size" : "",
                        "%-9s or larger: %" PRIu64, size, it->value->extents);
    }
}

typedef struct SharedDmaStat {
    uint64_t value;
    const char *label;
} SharedDmaStat;

static char *shared_dma_count_to_str(uint64_t count)
{
    return g_strdup_printf("%" PRIu64, count);
}

/* Print statistics on one line. */
static void shared_dma_print_stats(GString *buf, const char *name,
                                   const SharedDmaStat *stats, size_t nstats,
                                   char *(*to_str)(uint64_t))
{
    g_autoptr(GString) line = g_string_new("");

    for (size_t i = 0; i < nstats; i++) {
        g_autofree char *value = to_str(stats[i].value);

        g_string_append_printf(line, "%s%s %s", i ? ", " : "", value,
                               stats[i].label);
    }
    shared_dma_line(buf, name, "%s", line->str);
}

static void shared_dma_print_container(GString *buf, const VfioDmaInfo *info)
{
#define SHARED_DMA_STAT(name, label) { info->name, label },
    const SharedDmaStat sizes[] = { DMA_LAYOUT_SIZE_STATS(SHARED_DMA_STAT) };
    const SharedDmaStat calls[] = { DMA_LAYOUT_CALL_STATS(SHARED_DMA_STAT) };
    const SharedDmaStat changes[] = {
        DMA_LAYOUT_CHANGE_STATS(SHARED_DMA_STAT)
    };
#undef SHARED_DMA_STAT
    g_autofree char *block_size = size_to_str(info->block_size);

    g_string_append_printf(buf, "%s: %s\n", info->qom_path,
                           VfioDmaBackend_str(info->backend));
    shared_dma_print_devices(buf, info->devices);
    shared_dma_line(buf, "gate", "%s", info->open
                    ? "open, memory is mapped"
                    : "closed, new memory is not mapped");
    shared_dma_line(buf, "policy", "%s, new mappings are cut at %s",
                    info->extent_size, block_size);
    shared_dma_print_stats(buf, "memory", sizes, G_N_ELEMENTS(sizes),
                           size_to_str);
    shared_dma_line(buf, "extents", "%" PRIu64 ", %" PRIu64 " of them"
                    " mapped", info->extents, info->mapped_extents);
    if (info->budget) {
        shared_dma_line(buf, "budget", "%" PRIu64 " in total, %" PRIu64
                        " left, %" PRIu64 " reserved for splits",
                        info->budget->limit, info->budget->left,
                        info->budget->reserve);
    } else {
        shared_dma_line(buf, "budget", "no limit");
    }
    shared_dma_print_stats(buf, "calls", calls, G_N_ELEMENTS(calls),
                           shared_dma_count_to_str);
    shared_dma_print_stats(buf, "changes", changes, G_N_ELEMENTS(changes),
                           shared_dma_count_to_str);
    shared_dma_print_sizes(buf, info->extents_by_size);
}

static HumanReadableText *shared_dma_hmp_vfio_dma(Error **errp)
{
    g_autoptr(GString) buf = g_string_new("");
    g_autoptr(VfioDmaInfoList) list = qmp_x_query_vfio_dma(NULL, NULL, errp);

    if (!list) {
        g_string_append(buf, "There is no VFIO container.\n");
    }
    for (VfioDmaInfoList *it = list; it; it = it->next) {
        shared_dma_print_container(buf, it->value);
    }
    return human_readable_text_from_str(buf);
}

static void shared_dma_register_hmp(void)
{
    monitor_register_hmp_info_hrt("guest-memfd", shared_dma_hmp_guest_memfd);
    monitor_register_hmp_info_hrt("vfio-dma", shared_dma_hmp_vfio_dma);
}

type_init(shared_dma_register_hmp)
