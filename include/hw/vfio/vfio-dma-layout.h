/*
 * VFIO's listener for populated and discarded RAM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each VFIO container has a VFIODmaLayout, a QOM object that is its child
 * "dma-layout".  It maps the populated parts of sections that have a
 * GuestMemfdManager, by the rules of hw/vfio/dma-layout.h, and knows which
 * devices of the container may do DMA: its gate is open while there is one.
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

#include "qemu/units.h"
#include "exec/hwaddr.h"
#include "qom/object.h"

typedef struct SharedDmaWindow SharedDmaWindow;
typedef struct VfioDmaInfo VfioDmaInfo;

#define TYPE_VFIO_DMA_LAYOUT "vfio-dma-layout"
OBJECT_DECLARE_TYPE(VFIODmaLayout, VFIODmaLayoutClass, VFIO_DMA_LAYOUT)

struct VFIODmaLayoutClass {
    ObjectClass parent_class;

    /*
     * Tell what there is to be known of a container; of its extents, those in
     * @window, or none if that is NULL.  Called with the BQL held.
     */
    VfioDmaInfo *(*query)(VFIODmaLayout *vdl, const SharedDmaWindow *window);
};

/* The largest extent that can be asked for. */
#define VFIO_DMA_LAYOUT_MAX_EXTENT (1 * TiB)

typedef struct VFIOContainerBase VFIOContainerBase;
typedef struct VFIODevice VFIODevice;
typedef struct VFIOPCIDevice VFIOPCIDevice;
typedef struct VFIORamDiscardListener VFIORamDiscardListener;

/* Make the layout of a new container, which owns it. */
VFIODmaLayout *vfio_dma_layout_new(VFIOContainerBase *bcontainer);

/*
 * Have the layout map what is populated of a new listener's section, if that
 * is memory with a guest_memfd; other memory is mapped as QEMU maps it.  To be
 * called before the listener is registered.
 */
void vfio_dma_layout_adopt(VFIORamDiscardListener *vrdl);

/*
 * Fill in @pages with the whole pages of a section, of which there are some:
 * those that are registered for, and looked for later.  A guest can have a
 * section begin and end inside of pages by what it puts there.  Returns @pages.
 */
MemoryRegionSection *vfio_dma_layout_clip(const MemoryRegionSection *section,
                                          MemoryRegionSection *pages);

/*
 * Whether a section has no page that an IOMMU could map: it is too small, or
 * not aligned, which is reported, but not too often.
 */
bool vfio_dma_layout_has_no_page(const MemoryRegionSection *section);

/*
 * Whether a section without a RamDiscardManager could be mapped: @ret is what
 * mapping it returned.  In a guest with private memory it is not its RAM, and
 * the guest decides when it is mapped and where, so that a failure is reported
 * and no more.  Returns what is left of it: 0, or @ret.
 */
int vfio_dma_layout_tolerate(VFIOContainerBase *bcontainer,
                             const MemoryRegionSection *section, int ret);

/*
 * A device has been attached to its container.  The first one decides how its
 * container maps, a later one must not want it otherwise; a device that is
 * not PCI may do DMA from now on.  When that fails the device is detached.
 */
bool vfio_dma_layout_attach(VFIODevice *vbasedev, Error **errp);

/* A device that is attached is about to be detached. */
void vfio_dma_layout_detach(VFIODevice *vbasedev);

/*
 * Write to a PCI device's own config space: everything populated is mapped
 * before the device sees a write that enables bus mastering.  If that is not
 * possible, the write does not enable it, and @val says so.  Returns what
 * pwrite() does.
 */
ssize_t vfio_dma_layout_write_config(VFIOPCIDevice *vdev, uint32_t addr,
                                     uint32_t *val, int len);

/*
 * Whether the last write that would have made a device bus master could not
 * be let through.
 */
bool vfio_dma_layout_is_refused(VFIODevice *vbasedev);

/*
 * Whether to look for a shortage of mappings after a listener was added.  For
 * memory with a guest_memfd: if there are fewer mappings than sections, so that
 * not all of it could be mapped even with one mapping for each.  For other
 * memory: if the number of mappings is limited.
 */
bool vfio_dma_layout_is_short(const VFIORamDiscardListener *vrdl);

#endif
