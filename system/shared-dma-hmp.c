/*
 * HMP commands that print shared memory and DMA to it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/module.h"
#include "qapi/qapi-commands-shared-dma.h"
#include "qapi/type-helpers.h"
#include "hw/vfio/dma-layout-stats.h"
#include "monitor/monitor.h"
#include "system/guest-memfd-stats.h"
#include "system/page-state.h"

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
    if (info->cutting) {
        shared_dma_line(buf, "policy", "%s, mappings are cut in place",
                        info->extent_size);
    } else {
        shared_dma_line(buf, "policy", "%s, new mappings end at multiples of"
                        " %s and are split", info->extent_size, block_size);
    }
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
