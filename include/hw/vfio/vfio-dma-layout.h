/*
 * VFIO's listener for populated and discarded RAM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each VFIO container has a VFIODmaLayout, a QOM object that is its child
 * "dma-layout".  It maps the populated parts of sections that have a
 * GuestMemfdManager, by the rules of hw/vfio/dma-layout.h, and records which
 * devices of the container may do DMA: its gate is open while any device may.
 *
 * While it has devices, the container is "vfio-container[N]" of the machine,
 * where x-query-vfio-dma finds its layout.
 *
 * Locking: a layout has a lock of its own, taken after the BQL and after the
 * locks of RamDiscardManagers.  Listeners are called with or without the BQL;
 * all functions here need it.
 */

#ifndef HW_VFIO_VFIO_DMA_LAYOUT_H
#define HW_VFIO_VFIO_DMA_LAYOUT_H

#include "exec/hwaddr.h"
#include "qom/object.h"
#include "system/shared-dma-compat.h"

typedef struct SharedDmaWindow SharedDmaWindow;
typedef struct VfioDmaInfo VfioDmaInfo;

#define TYPE_VFIO_DMA_LAYOUT "vfio-dma-layout"
OBJECT_DECLARE_TYPE(VFIODmaLayout, VFIODmaLayoutClass, VFIO_DMA_LAYOUT)

struct VFIODmaLayoutClass {
    ObjectClass parent_class;

    /*
     * Return the state of a container, with the extents in @window, or without
     * extents if @window is NULL.  Called with the BQL held.
     */
    VfioDmaInfo *(*query)(VFIODmaLayout *vdl, const SharedDmaWindow *window);
};

typedef struct VFIODevice VFIODevice;
typedef struct VFIOPCIDevice VFIOPCIDevice;
typedef struct VFIORamDiscardListener VFIORamDiscardListener;

/* Create the layout of a new container, which owns it. */
VFIODmaLayout *vfio_dma_layout_new(VFIOContainerBase *bcontainer);

/*
 * Prepare a new iommufd container, before its first device is attached: let its
 * layout discard by cuts if the kernel can cut mappings and the device does not
 * ask for another policy.  A kernel that cannot leaves the layout to split.
 */
void vfio_dma_cut_prepare(VFIOContainerBase *bcontainer,
                          const VFIODevice *vbasedev);

/*
 * Let the layout map the populated parts of a new listener's section, if the
 * section is memory with a guest_memfd; other memory is mapped as in stock
 * QEMU.  Must be called before the listener is registered.
 */
void vfio_dma_layout_adopt(VFIORamDiscardListener *vrdl);

/*
 * Handle the result @ret of mapping a section without a RamDiscardManager.  In
 * a guest with private memory, such a section is not the guest's RAM, and the
 * guest decides when it is mapped and where: a failure is only reported.
 * Returns 0 if it was, or else @ret.
 */
int vfio_dma_layout_tolerate(VFIOContainerBase *bcontainer,
                             const MemoryRegionSection *section, int ret);

/*
 * Handle a device that was attached to its container.  The first device sets
 * the container's size of extents, later ones must agree.  A device that is not
 * PCI may do DMA from now on.  If this fails, detach the device.
 */
bool vfio_dma_layout_attach(VFIODevice *vbasedev, Error **errp);

/* Handle an attached device that is about to be detached. */
void vfio_dma_layout_detach(VFIODevice *vbasedev);

/*
 * Write to a PCI device's own config space.  Before a write that enables bus
 * mastering, map everything populated.  If that fails, clear the bit in @val
 * and in the write.  Returns the number of bytes written or a negative errno.
 */
int vfio_dma_layout_write_config(VFIOPCIDevice *vdev, uint32_t addr,
                                 uint32_t *val, int len);

/*
 * Whether the device's last attempt to become bus master was refused.
 */
bool vfio_dma_layout_is_refused(VFIODevice *vbasedev);

/*
 * Whether to check for a shortage of mappings after a listener was added.  For
 * memory with a guest_memfd: if there are fewer mappings than sections, so that
 * not all of it could be mapped even with one mapping for each.  For other
 * memory: if the number of mappings is limited.
 */
bool vfio_dma_layout_is_short(const VFIORamDiscardListener *vrdl);

#endif
