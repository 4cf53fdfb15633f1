/*
 * What the files of VFIO's DMA layouts share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_VFIO_DMA_INTERNAL_H
#define HW_VFIO_VFIO_DMA_INTERNAL_H

#include "qemu/thread.h"
#include "hw/vfio/dma-layout-c.h"
#include "hw/vfio/vfio-dma-layout.h"

struct VFIODmaLayout {
    Object parent_obj;

    VFIOContainerBase *bcontainer;

    /*
     * Devices that may do DMA, those that would if they were let, and how to
     * map; protected by the BQL.
     */
    GHashTable *masters;
    GHashTable *refused;
    char *extent_size;

    /* Protects the layout. */
    QemuMutex lock;
    DmaLayout *layout;
};

/* vfio-dma-layout.c */

/*
 * Ask type1 how many mappings it still grants a container.  Returns false if
 * there is no limit or nothing is known of it.
 */
bool vfio_dma_layout_ask_kernel(VFIOContainerBase *bcontainer,
                                unsigned int *left);

/* What an operator can do about a mapping that failed with @err, an errno. */
const char *vfio_dma_layout_hint(VFIOContainerBase *bcontainer, int err);

/* vfio-dma-gate.c; all need the BQL */

/* Whether a device does no DMA until a write makes it bus master. */
bool vfio_dma_layout_is_gated(const VFIODevice *vbasedev);

/*
 * A device wants to do DMA: map everything populated.  Returns 0 or a negative
 * errno.
 */
int vfio_dma_layout_start(VFIODmaLayout *vdl, VFIODevice *vbasedev);

/* A device no longer does DMA. */
void vfio_dma_layout_stop(VFIODmaLayout *vdl, VFIODevice *vbasedev);

/* vfio-dma-query.c */

/* Implements VFIODmaLayoutClass.query. */
VfioDmaInfo *vfio_dma_layout_query(VFIODmaLayout *vdl,
                                   const SharedDmaWindow *window);

#endif
