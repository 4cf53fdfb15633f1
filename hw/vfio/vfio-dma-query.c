/*
 * Queries of the DMA layouts of VFIO containers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qapi/qapi-types-shared-dma.h"
#include "hw/qdev-core.h"
#include "hw/vfio/dma-layout-c.h"
#include "system/shared-dma-view.h"
#include "vfio-dma-internal.h"

static VfioDmaBackend vfio_dma_layout_backend_type(VFIODmaLayout *vdl)
{
    Object *container = OBJECT(vdl->bcontainer);

    return object_dynamic_cast(container, TYPE_VFIO_IOMMU_LEGACY)
               ? VFIO_DMA_BACKEND_TYPE1
         : object_dynamic_cast(container, TYPE_VFIO_IOMMU_IOMMUFD)
               ? VFIO_DMA_BACKEND_IOMMUFD
         : VFIO_DMA_BACKEND_OTHER;
}

static VfioDmaDeviceList *vfio_dma_layout_list_devices(VFIODmaLayout *vdl)
{
    VfioDmaDeviceList *list = NULL;
    VFIODevice *vbasedev;

    QLIST_FOREACH(vbasedev, &vdl->bcontainer->device_list, container_next) {
        VfioDmaDevice *device = g_new0(VfioDmaDevice, 1);

        device->name = g_strdup(vbasedev->name);
        device->id = g_strdup(vbasedev->dev->id);
        device->qom_path = object_get_canonical_path(OBJECT(vbasedev->dev));
        device->may_do_dma = g_hash_table_contains(vdl->masters, vbasedev);
        device->refused = g_hash_table_contains(vdl->refused, vbasedev);
        QAPI_LIST_PREPEND(list, device);
    }
    return list;
}

static void vfio_dma_layout_copy_stats(VfioDmaStats *to,
                                       const DmaLayoutStats *from)
{
#define VFIO_DMA_LAYOUT_COPY_STAT(name, label) to->name = from->name;
    DMA_LAYOUT_STATS(VFIO_DMA_LAYOUT_COPY_STAT)
#undef VFIO_DMA_LAYOUT_COPY_STAT
    /* DMA_LAYOUT_STATS has all members that QAPI declares. */
    QEMU_BUILD_BUG_ON(offsetof(DmaLayoutStats, by_order) != sizeof(*to));
}

static VfioDmaBudget *vfio_dma_layout_get_budget(const DmaLayoutStats *stats)
{
    VfioDmaBudget *budget;

    if (stats->entries_limit == DMA_LAYOUT_NO_LIMIT) {
        return NULL;
    }
    budget = g_new0(VfioDmaBudget, 1);
    budget->limit = stats->entries_limit;
    budget->left = stats->entries_left;
    budget->reserve = stats->entries_reserve;
    return budget;
}

static VfioDmaExtentCountList *
vfio_dma_layout_list_sizes(const DmaLayoutStats *stats)
{
    VfioDmaExtentCountList *list = NULL, **tail = &list;

    for (size_t i = 0; i < ARRAY_SIZE(stats->by_order); i++) {
        if (stats->by_order[i]) {
            VfioDmaExtentCount *count = g_new0(VfioDmaExtentCount, 1);

            count->size = UINT64_C(1) << i;
            count->extents = stats->by_order[i];
            QAPI_LIST_APPEND(tail, count);
        }
    }
    return list;
}

static void vfio_dma_layout_list_extents(VFIODmaLayout *vdl,
                                         const SharedDmaView *view,
                                         VfioDmaWindow *out)
{
    VfioDmaExtentList **tail = &out->extents;
    const uint64_t end = view->start + view->size;
    uint64_t iova = view->start;
    DmaLayoutExtent found;

    for (uint32_t n = 0; iova < end; n++) {
        VfioDmaExtent *extent;

        if (!dma_layout_next_extent(vdl->layout, iova, end - 1, &found)) {
            return;
        }
        if (n == view->max) {
            out->more = true;
            return;
        }
        extent = g_new0(VfioDmaExtent, 1);
        extent->iova = found.iova;
        extent->size = found.size;
        extent->mapped = found.mapped;
        QAPI_LIST_APPEND(tail, extent);
        iova = found.iova + found.size;
    }
}

static void vfio_dma_layout_list_cells(VFIODmaLayout *vdl,
                                       const SharedDmaView *view,
                                       VfioDmaWindow *out)
{
    VfioDmaCellList **tail = &out->cells;
    const uint64_t end = view->start + view->size;

    for (uint64_t i = 0; i < view->ncells; i++) {
        const uint64_t start = view->start + i * view->cell_size;
        const uint64_t last = start + (MIN(view->cell_size, end - start) - 1);
        VfioDmaCell *cell = g_new0(VfioDmaCell, 1);
        DmaLayoutExtent found;

        if (dma_layout_next_extent(vdl->layout, start, last, &found)) {
            cell->size = found.size;
            cell->mapped = found.mapped;
        }
        QAPI_LIST_APPEND(tail, cell);
    }
}

static VfioDmaWindow *vfio_dma_layout_look(VFIODmaLayout *vdl,
                                           const SharedDmaWindow *window)
{
    const uint64_t end = window->has_size ? INT64_MAX
                                          : dma_layout_last(vdl->layout) + 1;
    const SharedDmaView view =
        shared_dma_view(window, QEMU_ALIGN_DOWN(MIN(end, INT64_MAX),
                                                qemu_real_host_page_size()));
    VfioDmaWindow *out = g_new0(VfioDmaWindow, 1);

    out->start = view.start;
    out->size = view.size;
    vfio_dma_layout_list_extents(vdl, &view, out);
    if (window->has_cells) {
        out->has_cell_size = true;
        out->cell_size = view.cell_size;
        out->has_cells = true;
        vfio_dma_layout_list_cells(vdl, &view, out);
    }
    return out;
}

VfioDmaInfo *vfio_dma_layout_query(VFIODmaLayout *vdl,
                                   const SharedDmaWindow *window)
{
    VfioDmaInfo *info = g_new0(VfioDmaInfo, 1);
    DmaLayoutStats stats;

    info->qom_path = object_get_canonical_path(OBJECT(vdl->bcontainer));
    info->backend = vfio_dma_layout_backend_type(vdl);
    info->devices = vfio_dma_layout_list_devices(vdl);
    info->extent_size = g_strdup(vdl->extent_size ?: "auto");

    QEMU_LOCK_GUARD(&vdl->lock);
    dma_layout_get_stats(vdl->layout, &stats);
    vfio_dma_layout_copy_stats(qapi_VfioDmaInfo_base(info), &stats);
    info->open = dma_layout_is_open(vdl->layout);
    info->cutting = dma_layout_uses_cuts(vdl->layout);
    info->budget = vfio_dma_layout_get_budget(&stats);
    info->extents_by_size = vfio_dma_layout_list_sizes(&stats);
    info->window = window ? vfio_dma_layout_look(vdl, window) : NULL;
    return info;
}
