/*
 * Internal interfaces of VFIO's DMA layouts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_VFIO_DMA_INTERNAL_H
#define HW_VFIO_VFIO_DMA_INTERNAL_H

#include "qemu/thread.h"
#include "hw/vfio/dma-layout-c.h"
#include "hw/vfio/vfio-dma-layout.h"
#include "vfio-dma-compat.h"

typedef struct VFIODmaCutter VFIODmaCutter;

struct VFIODmaLayout {
    Object parent_obj;

    VFIOContainerBase *bcontainer;
    /* Of the file of an iommufd container */
    VFIODmaCutter *cutter;

    /*
     * Devices that may do DMA, devices that were refused to, and the value of
     * x-shared-dma-extent; protected by the BQL.
     */
    GHashTable *masters;
    GHashTable *refused;
    char *extent_size;

    /* Protects the layout, and whether its events were reported. */
    QemuMutex lock;
    DmaLayout *layout;
    bool split_reported;
    bool merge_reported;
};

/* vfio-dma-layout.c */

/*
 * Ask type1 for the number of mappings that a container can add.  Returns false
 * if there is no limit or it is unknown.
 */
bool vfio_dma_layout_ask_kernel(VFIOContainerBase *bcontainer,
                                unsigned int *left);

/* Return a hint for users on a mapping that failed with errno @err. */
const char *vfio_dma_layout_hint(VFIOContainerBase *bcontainer, int err);

/* vfio-dma-cut.c */

/*
 * Unmap the mapped parts of a range of an iommufd container, as
 * DmaLayoutBackend.cut.  Called with the layout's lock held, by any thread.
 */
int vfio_dma_cut(VFIODmaLayout *vdl, uint64_t iova, uint64_t size);

/* vfio-dma-gate.c; all need the BQL */

/* Whether a device cannot do DMA until a write makes it bus master. */
bool vfio_dma_layout_is_gated(const VFIODevice *vbasedev);

/*
 * Map everything populated, so that a device may do DMA.  Returns 0 or a
 * negative errno.
 */
int vfio_dma_layout_start(VFIODmaLayout *vdl, VFIODevice *vbasedev);

/* Handle a device that no longer does DMA. */
void vfio_dma_layout_stop(VFIODmaLayout *vdl, VFIODevice *vbasedev);

/* vfio-dma-query.c */

/* Implements VFIODmaLayoutClass.query. */
VfioDmaInfo *vfio_dma_layout_query(VFIODmaLayout *vdl,
                                   const SharedDmaWindow *window);

#endif
