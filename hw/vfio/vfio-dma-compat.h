/*
 * Differences between versions of QEMU: VFIO
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * See include/system/shared-dma-compat.h.
 */

#ifndef HW_VFIO_VFIO_DMA_COMPAT_H
#define HW_VFIO_VFIO_DMA_COMPAT_H

#include "system/shared-dma-compat.h"
#include "hw/vfio/pci.h"

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0

#include "hw/vfio/vfio-common.h"

#define vfio_device_detach vfio_detach_device

static inline PCIDevice *vfio_dma_pci_device(VFIOPCIDevice *vdev)
{
    return &vdev->pdev;
}

/* Parameters that VFIOIOMMUClass.dma_map and .dma_unmap have in addition */
#define VFIO_DMA_MAP_MORE
#define VFIO_DMA_UNMAP_MORE

static inline int vfio_dma_map(VFIOContainerBase *bcontainer, hwaddr iova,
                               uint64_t size, void *vaddr, bool readonly)
{
    return VFIO_IOMMU_GET_CLASS(bcontainer)->dma_map(bcontainer, iova, size,
                                                     vaddr, readonly);
}

static inline int vfio_dma_unmap(VFIOContainerBase *bcontainer, hwaddr iova,
                                 uint64_t size)
{
    return VFIO_IOMMU_GET_CLASS(bcontainer)->dma_unmap(bcontainer, iova, size,
                                                       NULL);
}

/*
 * Access a device's own config space.  Return the number of bytes or a negative
 * errno.
 */
static inline int vfio_dma_read_config(VFIOPCIDevice *vdev, uint32_t addr,
                                       void *data, int len)
{
    int ret = pread(vdev->vbasedev.fd, data, len, vdev->config_offset + addr);

    return ret < 0 ? -errno : ret;
}

static inline int vfio_dma_write_config(VFIOPCIDevice *vdev, uint32_t addr,
                                        void *data, int len)
{
    int ret = pwrite(vdev->vbasedev.fd, data, len, vdev->config_offset + addr);

    return ret < 0 ? -errno : ret;
}

#else

#include "hw/vfio/vfio-container-legacy.h"
#include "hw/vfio/vfio-device.h"
#include "hw/vfio/vfio-helpers.h"
#include "hw/vfio/vfio-iommufd.h"

static inline PCIDevice *vfio_dma_pci_device(VFIOPCIDevice *vdev)
{
    return &vdev->parent_obj;
}

#define VFIO_DMA_MAP_MORE , MemoryRegion *mr
#define VFIO_DMA_UNMAP_MORE , bool unmap_all

/*
 * vfio_container_dma_map() would let iommufd map the file of the memory instead
 * of its address.  That needs Linux 6.13, and memory that is not a private
 * mapping of the file.
 */
static inline int vfio_dma_map(VFIOContainerBase *bcontainer, hwaddr iova,
                               uint64_t size, void *vaddr, bool readonly)
{
    ram_addr_t offset;

    return VFIO_IOMMU_GET_CLASS(bcontainer)->dma_map(
        bcontainer, iova, size, vaddr, readonly,
        memory_region_from_host(vaddr, &offset));
}

static inline int vfio_dma_unmap(VFIOContainerBase *bcontainer, hwaddr iova,
                                 uint64_t size)
{
    return VFIO_IOMMU_GET_CLASS(bcontainer)->dma_unmap(bcontainer, iova, size,
                                                       NULL, false);
}

static inline int vfio_dma_read_config(VFIOPCIDevice *vdev, uint32_t addr,
                                       void *data, int len)
{
    VFIODevice *vbasedev = &vdev->vbasedev;

    return vbasedev->io_ops->region_read(vbasedev, VFIO_PCI_CONFIG_REGION_INDEX,
                                         addr, len, data);
}

static inline int vfio_dma_write_config(VFIOPCIDevice *vdev, uint32_t addr,
                                        void *data, int len)
{
    VFIODevice *vbasedev = &vdev->vbasedev;

    return vbasedev->io_ops->region_write(vbasedev,
                                          VFIO_PCI_CONFIG_REGION_INDEX, addr,
                                          len, data, false);
}

#endif

#endif
