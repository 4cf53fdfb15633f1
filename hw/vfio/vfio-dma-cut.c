/*
 * Cutting the mappings of iommufd containers in place
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * iommufd itself unmaps whole mappings only.  Its compatibility interface also
 * cuts them: VFIO_IOMMU_UNMAP_DMA on /dev/iommu unmaps any pages of the file's
 * compatibility IOAS, and the rest stays mapped, provided that the IOAS uses no
 * superpages of the IOMMU.  A file has one compatibility IOAS at a time.  To
 * select it and to unmap must therefore be one step for all containers of the
 * file, which share a VFIODmaCutter, a QOM object that is the file's child.
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>

#include "qemu/lockable.h"
#include "qemu/memalign.h"
#include "hw/boards.h"
#include "hw/vfio/dma-layout-c.h"
#include "trace/trace-system_shared_dma.h"
#include "vfio-dma-internal.h"

#define VFIO_DMA_CUTTER_NAME "vfio-dma-cutter"
#define TYPE_VFIO_DMA_CUTTER "vfio-dma-cutter"
OBJECT_DECLARE_SIMPLE_TYPE(VFIODmaCutter, VFIO_DMA_CUTTER)

struct VFIODmaCutter {
    Object parent_obj;

    /* Protects the file's selection of an IOAS. */
    QemuMutex lock;
};

OBJECT_DEFINE_SIMPLE_TYPE(VFIODmaCutter, vfio_dma_cutter, VFIO_DMA_CUTTER,
                          OBJECT)

static void vfio_dma_cutter_class_init(ObjectClass *oc, ClassInitData *data)
{
}

static void vfio_dma_cutter_init(Object *obj)
{
    qemu_mutex_init(&VFIO_DMA_CUTTER(obj)->lock);
}

static void vfio_dma_cutter_finalize(Object *obj)
{
    qemu_mutex_destroy(&VFIO_DMA_CUTTER(obj)->lock);
}

/* Return the cutter of a file; create it if it is the first call. */
static VFIODmaCutter *vfio_dma_cutter_get(IOMMUFDBackend *be)
{
    Object *obj = object_resolve_path_component(OBJECT(be),
                                                VFIO_DMA_CUTTER_NAME);

    if (!obj) {
        obj = object_new(TYPE_VFIO_DMA_CUTTER);
        object_property_add_child(OBJECT(be), VFIO_DMA_CUTTER_NAME, obj);
        object_unref(obj);
    }
    return VFIO_DMA_CUTTER(obj);
}

/* Let the IOAS of a container map single pages only, or superpages, too. */
static int vfio_dma_set_superpages(const VFIOIOMMUFDContainer *container,
                                   bool superpages)
{
    struct iommu_option option = {
        .size = sizeof(option),
        .option_id = IOMMU_OPTION_HUGE_PAGES,
        .op = IOMMU_OPTION_OP_SET,
        .object_id = container->ioas_id,
        .val64 = superpages,
    };

    return ioctl(container->be->fd, IOMMU_OPTION, &option) ? -errno : 0;
}

int vfio_dma_cut(VFIODmaLayout *vdl, uint64_t iova, uint64_t size)
{
    const VFIOIOMMUFDContainer *container =
        VFIO_IOMMU_IOMMUFD(vdl->bcontainer);
    struct iommu_vfio_ioas selection = {
        .size = sizeof(selection),
        .ioas_id = container->ioas_id,
        .op = IOMMU_VFIO_IOAS_SET,
    };
    struct vfio_iommu_type1_dma_unmap unmap = {
        .argsz = sizeof(unmap),
        .iova = iova,
        .size = size,
    };
    int ret = 0;

    WITH_QEMU_LOCK_GUARD(&vdl->cutter->lock) {
        if (ioctl(container->be->fd, IOMMU_VFIO_IOAS, &selection) ||
            ioctl(container->be->fd, VFIO_IOMMU_UNMAP_DMA, &unmap)) {
            ret = -errno;
        }
    }
    trace_vfio_dma_layout_cut(vdl->bcontainer, iova, size, ret);
    return ret;
}

/* Try to cut a mapping of an IOAS that has neither mappings nor devices. */
static int vfio_dma_try_cut(VFIODmaLayout *vdl)
{
    const size_t page_size = qemu_real_host_page_size();
    void *pages = qemu_memalign(page_size, 2 * page_size);
    int ret = vfio_dma_map(vdl->bcontainer, 0, 2 * page_size, pages, false);

    if (!ret) {
        ret = vfio_dma_cut(vdl, page_size, page_size);
        vfio_dma_unmap(vdl->bcontainer, 0, (ret ? 2 : 1) * page_size);
    }
    qemu_vfree(pages);
    return ret;
}

void vfio_dma_cut_prepare(VFIOContainerBase *bcontainer,
                          const VFIODevice *vbasedev)
{
    const VFIOIOMMUFDContainer *container = VFIO_IOMMU_IOMMUFD(bcontainer);
    VFIODmaLayout *vdl = bcontainer->dma_layout;
    int ret;

    if (!machine_require_guest_memfd(current_machine) ||
        g_strcmp0(vbasedev->shared_dma_extent ?: "auto", "auto")) {
        return;
    }
    vdl->cutter = vfio_dma_cutter_get(container->be);
    ret = vfio_dma_set_superpages(container, false);
    if (!ret) {
        ret = vfio_dma_try_cut(vdl);
        if (ret) {
            vfio_dma_set_superpages(container, true);
        } else {
            dma_layout_use_cuts(vdl->layout);
        }
    }
    trace_vfio_dma_layout_prepare(bcontainer, ret);
}
