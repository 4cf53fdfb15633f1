/*
 * The gate of a container's DMA layout: which devices may do DMA
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "hw/vfio/dma-layout-c.h"
#include "trace/trace-system_shared_dma.h"
#include "vfio-dma-internal.h"

/*
 * A PCI function cannot do DMA while its bus mastering is off.  Only the parent
 * of a mediated device knows what that does.
 */
bool vfio_dma_layout_is_gated(const VFIODevice *vbasedev)
{
    return vbasedev->type == VFIO_DEVICE_TYPE_PCI && !vbasedev->mdev;
}

int vfio_dma_layout_start(VFIODmaLayout *vdl, VFIODevice *vbasedev)
{
    int ret = 0;

    WITH_QEMU_LOCK_GUARD(&vdl->lock) {
        if (!dma_layout_is_open(vdl->layout)) {
            ret = dma_layout_open(vdl->layout);
            trace_vfio_dma_layout_open(vdl->bcontainer, vbasedev->name,
                                       dma_layout_count_mapped(vdl->layout),
                                       ret);
        }
    }
    if (ret) {
        g_hash_table_add(vdl->refused, vbasedev);
    } else {
        g_hash_table_remove(vdl->refused, vbasedev);
        g_hash_table_add(vdl->masters, vbasedev);
    }
    return ret;
}

void vfio_dma_layout_stop(VFIODmaLayout *vdl, VFIODevice *vbasedev)
{
    g_hash_table_remove(vdl->refused, vbasedev);
    if (!g_hash_table_remove(vdl->masters, vbasedev) ||
        g_hash_table_size(vdl->masters)) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&vdl->lock) {
        dma_layout_close(vdl->layout);
        trace_vfio_dma_layout_close(vdl->bcontainer, vbasedev->name,
                                    dma_layout_count_mapped(vdl->layout));
    }
}

bool vfio_dma_layout_is_refused(VFIODevice *vbasedev)
{
    return g_hash_table_contains(vbasedev->bcontainer->dma_layout->refused,
                                 vbasedev);
}
