/*
 * The DMA layouts of VFIO containers: listeners, devices and the kernel
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/vfio.h>

#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "exec/cpu-common.h"
#include "hw/boards.h"
#include "hw/qdev-core.h"
#include "hw/vfio/dma-layout-c.h"
#include "system/guest-memfd-manager.h"
#include "system/report-limit.h"
#include "trace/trace-system_shared_dma.h"
#include "vfio-dma-internal.h"

/*
 * Minimum number of entries that are left for mappings outside the layout: a
 * failure there stops the VM.
 */
#define OTHERS_RESERVE 32

/* Maximum of x-shared-dma-extent in bytes */
#define MAX_EXTENT_SIZE (1 * TiB)

OBJECT_DEFINE_TYPE(VFIODmaLayout, vfio_dma_layout, VFIO_DMA_LAYOUT, OBJECT)

/* Backend */

static int vfio_dma_layout_map(void *opaque, uint64_t iova, uint64_t size,
                               uint64_t vaddr, DmaLayoutAccess access)
{
    VFIODmaLayout *vdl = opaque;
    int ret = vfio_dma_map(vdl->bcontainer, iova, size,
                           (void *)(uintptr_t)vaddr,
                           access == DMA_LAYOUT_READ_ONLY);

    trace_vfio_dma_layout_map(vdl->bcontainer, iova, size, ret);
    return ret;
}

static int vfio_dma_layout_unmap(void *opaque, uint64_t iova, uint64_t size)
{
    VFIODmaLayout *vdl = opaque;
    int ret = vfio_dma_unmap(vdl->bcontainer, iova, size);

    trace_vfio_dma_layout_unmap(vdl->bcontainer, iova, size, ret);
    return ret;
}

static int vfio_dma_layout_cut(void *opaque, uint64_t iova, uint64_t size)
{
    return vfio_dma_cut(opaque, iova, size);
}

static bool vfio_dma_layout_is_type1(VFIOContainerBase *bcontainer)
{
    return object_dynamic_cast(OBJECT(bcontainer), TYPE_VFIO_IOMMU_LEGACY);
}

bool vfio_dma_layout_ask_kernel(VFIOContainerBase *bcontainer,
                                unsigned int *left)
{
    g_autofree struct vfio_iommu_type1_info *info = NULL;
    size_t argsz = sizeof(*info);
    int fd;

    if (!vfio_dma_layout_is_type1(bcontainer)) {
        return false;
    }
    fd = VFIO_IOMMU_LEGACY(bcontainer)->fd;
    for (;;) {
        info = g_realloc(info, argsz);
        memset(info, 0, argsz);
        info->argsz = argsz;
        if (ioctl(fd, VFIO_IOMMU_GET_INFO, info)) {
            return false;
        }
        if (info->argsz <= argsz) {
            return vfio_get_info_dma_avail(info, left);
        }
        argsz = info->argsz;
    }
}

static uint64_t vfio_dma_layout_entries_left(void *opaque)
{
    VFIODmaLayout *vdl = opaque;
    const uint64_t max = vdl->bcontainer->dma_max_mappings;
    unsigned int left;
    uint64_t used, reserve;

    if (!vfio_dma_layout_ask_kernel(vdl->bcontainer, &left)) {
        return DMA_LAYOUT_NO_LIMIT;
    }
    used = left + dma_layout_count_mapped(vdl->layout);
    reserve = MAX(max > used ? max - used : 0, OTHERS_RESERVE);
    return left - MIN(left, MIN(reserve, max / 4));
}

const char *vfio_dma_layout_hint(VFIOContainerBase *bcontainer, int err)
{
    switch (err) {
    case ENOSPC:
        return vfio_dma_layout_is_type1(bcontainer)
            ? "; dma_entry_limit of vfio_iommu_type1 can be raised"
            : "; with x-shared-dma-extent=auto there is no limit";
    case ENOMEM:
        return "; QEMU may need a larger limit of locked memory";
    case EFAULT:
        return "; the file of the memory backend may be too small, or on a"
               " file system whose memory cannot be pinned";
    case EINVAL:
        return "; the address may be reserved or too wide for the host's IOMMU:"
               " a smaller phys-bits of the CPU keeps guests from using it";
    default:
        return "";
    }
}

/* Return a hint for users on how to avoid splits. */
static const char *vfio_dma_layout_split_hint(const VFIODmaLayout *vdl)
{
    if (vfio_dma_layout_is_type1(vdl->bcontainer)) {
        return "; iommufd avoids this";
    }
    return g_strcmp0(vdl->extent_size, "auto")
        ? "; x-shared-dma-extent=auto avoids this" : "";
}

/* Report once in each container that devices were disturbed. */
static void vfio_dma_layout_report_once(bool *reported, uint64_t iova,
                                        uint64_t size, const char *reason,
                                        const char *hint)
{
    if (!*reported) {
        *reported = true;
        warn_report("vfio: devices could not access guest memory 0x%" PRIx64
                    "+0x%" PRIx64 " for a moment, because %s%s (reported once)",
                    iova, size, reason, hint);
    }
}

static void vfio_dma_layout_event(void *opaque, DmaLayoutEvent event,
                                  uint64_t iova, uint64_t size, uint64_t count)
{
    VFIODmaLayout *vdl = opaque;

    switch (event) {
    case DMA_LAYOUT_SPLIT:
        trace_vfio_dma_layout_split(vdl->bcontainer, iova, size, count);
        vfio_dma_layout_report_once(&vdl->split_reported, iova, size,
                                    "the guest took back a part of it",
                                    vfio_dma_layout_split_hint(vdl));
        break;
    case DMA_LAYOUT_MERGE:
        trace_vfio_dma_layout_merge(vdl->bcontainer, iova, size, count);
        vfio_dma_layout_report_once(&vdl->merge_reported, iova, size,
                                    "no IOMMU mapping was left",
                                    vfio_dma_layout_hint(vdl->bcontainer,
                                                         ENOSPC));
        break;
    case DMA_LAYOUT_PRESSURE:
        trace_vfio_dma_layout_pressure(vdl->bcontainer, size, count);
        break;
    case DMA_LAYOUT_MISSING:
        trace_vfio_dma_layout_missing(vdl->bcontainer, iova, size);
        if (count) {
            warn_report_limited("vfio: devices cannot access guest memory 0x%"
                                PRIx64 "+0x%" PRIx64 " until it can be mapped:"
                                " %s%s", iova, size, strerror(count),
                                vfio_dma_layout_hint(vdl->bcontainer, count));
        }
        break;
    case DMA_LAYOUT_RECOVERED:
        trace_vfio_dma_layout_recovered(vdl->bcontainer, iova, size);
        break;
    case DMA_LAYOUT_STUCK:
        trace_vfio_dma_layout_stuck(vdl->bcontainer, iova, size, -(int)count);
        error_report_limited("vfio: guest memory 0x%" PRIx64 "+0x%" PRIx64
                             " is no longer shared, but the kernel does not"
                             " unmap it: %s", iova, size, strerror(count));
        break;
    case DMA_LAYOUT_FREED:
        trace_vfio_dma_layout_freed(vdl->bcontainer, iova, size);
        break;
    }
}

static const DmaLayoutBackend vfio_dma_layout_backend = {
    .map = vfio_dma_layout_map,
    .unmap = vfio_dma_layout_unmap,
    .cut = vfio_dma_layout_cut,
    .entries_left = vfio_dma_layout_entries_left,
    .event = vfio_dma_layout_event,
};

/* The listener */

static int vfio_dma_layout_notify_populate(RamDiscardListener *rdl,
                                           MemoryRegionSection *section)
{
    VFIORamDiscardListener *vrdl = container_of(rdl, VFIORamDiscardListener,
                                                listener);
    VFIODmaLayout *vdl = vrdl->bcontainer->dma_layout;
    char *vaddr = (char *)qemu_ram_get_host_addr(section->mr->ram_block) +
                  section->offset_within_region;

    QEMU_LOCK_GUARD(&vdl->lock);
    return dma_layout_populate(vdl->layout,
                               section->offset_within_address_space,
                               int128_get64(section->size), (uintptr_t)vaddr,
                               section->readonly ? DMA_LAYOUT_READ_ONLY
                                                 : DMA_LAYOUT_READ_WRITE);
}

static void vfio_dma_layout_notify_discard(RamDiscardListener *rdl,
                                           MemoryRegionSection *section)
{
    VFIORamDiscardListener *vrdl = container_of(rdl, VFIORamDiscardListener,
                                                listener);
    VFIODmaLayout *vdl = vrdl->bcontainer->dma_layout;

    QEMU_LOCK_GUARD(&vdl->lock);
    /* If the kernel fails to unmap, that is reported and tried again later. */
    dma_layout_discard(vdl->layout, section->offset_within_address_space,
                       int128_get64(section->size));
}

/* Whether the memory of a listener is mapped by the layout. */
static bool vfio_dma_layout_has(const VFIORamDiscardListener *vrdl)
{
    RamDiscardManager *rdm = memory_region_get_ram_discard_manager(vrdl->mr);

    return object_dynamic_cast(OBJECT(rdm), TYPE_GUEST_MEMFD_MANAGER);
}

void vfio_dma_layout_adopt(VFIORamDiscardListener *vrdl)
{
    if (vfio_dma_layout_has(vrdl)) {
        vrdl->listener.notify_populate = vfio_dma_layout_notify_populate;
        vrdl->listener.notify_discard = vfio_dma_layout_notify_discard;
        vrdl->granularity = pow2ceil(vrdl->size);
    }
}

bool vfio_dma_layout_is_short(const VFIORamDiscardListener *vrdl)
{
    VFIOContainerBase *bcontainer = vrdl->bcontainer;
    VFIORamDiscardListener *other;
    unsigned int nsections = 0, left;

    if (!vfio_dma_layout_has(vrdl)) {
        return bcontainer->dma_max_mappings;
    }
    QLIST_FOREACH(other, &bcontainer->vrdl_list, next) {
        nsections++;
    }
    WITH_QEMU_LOCK_GUARD(&bcontainer->dma_layout->lock) {
        if (!vfio_dma_layout_ask_kernel(bcontainer, &left)) {
            return false;
        }
        left += dma_layout_count_mapped(bcontainer->dma_layout->layout);
    }
    return nsections > left;
}

int vfio_dma_layout_tolerate(VFIOContainerBase *bcontainer,
                             const MemoryRegionSection *section, int ret)
{
    if (!ret || !bcontainer->initialized || section->mr->ram_device ||
        !machine_require_guest_memfd(current_machine)) {
        return ret;
    }
    error_report_limited("vfio: devices cannot access %s at 0x%" HWADDR_PRIx
                         " until it is mapped again: %s%s", section->mr->name,
                         section->offset_within_address_space, strerror(-ret),
                         vfio_dma_layout_hint(bcontainer, -ret));
    return 0;
}

/* Devices */

/* Whether a value of x-shared-dma-extent asks for the IOMMU's superpages. */
static bool vfio_dma_layout_is_superpage(const char *str)
{
    return !strcmp(str, "superpage");
}

static bool vfio_dma_layout_parse(const char *str, uint64_t *extent_size,
                                  Error **errp)
{
    if (!strcmp(str, "auto") || vfio_dma_layout_is_superpage(str)) {
        *extent_size = DMA_LAYOUT_AUTO;
    } else if (!strcmp(str, "page")) {
        *extent_size = DMA_LAYOUT_PAGE;
    } else if (qemu_strtosz(str, NULL, extent_size) ||
               !is_power_of_2(*extent_size) ||
               *extent_size < qemu_real_host_page_size() ||
               *extent_size > MAX_EXTENT_SIZE) {
        error_setg(errp, "x-shared-dma-extent: '%s' is none of 'auto',"
                   " 'superpage', 'page' and a power of two from %zuK to 1T",
                   str,
                   (size_t)(qemu_real_host_page_size() / KiB));
        return false;
    }
    return true;
}

/* Warn if there may be fewer entries than pages. */
static void vfio_dma_layout_check_pages(VFIOContainerBase *bcontainer)
{
    VFIORamDiscardListener *vrdl;
    unsigned int left;
    uint64_t wanted = 0;

    QLIST_FOREACH(vrdl, &bcontainer->vrdl_list, next) {
        if (vfio_dma_layout_has(vrdl)) {
            wanted += vrdl->size / qemu_real_host_page_size();
        }
    }
    if (vfio_dma_layout_ask_kernel(bcontainer, &left) && wanted > left) {
        warn_report("vfio: x-shared-dma-extent=page can take up to %" PRIu64
                    " IOMMU mappings, of which the kernel has %u left; raise"
                    " dma_entry_limit of vfio_iommu_type1, or use 'auto'",
                    wanted, left);
    }
}

/* Set a container's size of extents, or check that it is the same. */
static bool vfio_dma_layout_choose(VFIODmaLayout *vdl, const char *wanted,
                                   Error **errp)
{
    uint64_t size, other;
    int ret;

    if (!vfio_dma_layout_parse(wanted ?: vdl->extent_size ?: "auto", &size,
                               errp)) {
        return false;
    }
    if (vdl->extent_size) {
        vfio_dma_layout_parse(vdl->extent_size, &other, &error_abort);
        if (size == other && (!wanted || vfio_dma_layout_is_superpage(wanted) ==
                              vfio_dma_layout_is_superpage(vdl->extent_size))) {
            return true;
        }
        error_setg(errp, "x-shared-dma-extent=%s contradicts '%s', which"
                   " another device of the same VFIO container has", wanted,
                   vdl->extent_size);
        return false;
    }
    WITH_QEMU_LOCK_GUARD(&vdl->lock) {
        ret = dma_layout_set_extent_size(vdl->layout, size);
    }
    if (ret) {
        error_setg_errno(errp, -ret, "x-shared-dma-extent=%s: there are not"
                         " enough IOMMU mappings for the populated memory",
                         wanted ?: "auto");
        return false;
    }
    if (size == DMA_LAYOUT_PAGE) {
        vfio_dma_layout_check_pages(vdl->bcontainer);
    }
    vdl->extent_size = g_strdup(wanted ?: "auto");
    return true;
}

static bool vfio_dma_layout_try_attach(VFIODevice *vbasedev, Error **errp)
{
    VFIOContainerBase *bcontainer = vbasedev->bcontainer;
    VFIODmaLayout *vdl = bcontainer->dma_layout;
    int ret;

    if (bcontainer->space->as != &address_space_memory &&
        machine_require_guest_memfd(current_machine)) {
        error_setg(errp, "a virtual IOMMU cannot be used for devices that are"
                   " assigned to a guest with private memory");
        return false;
    }
    if (!vfio_dma_layout_choose(vdl, vbasedev->shared_dma_extent, errp)) {
        return false;
    }
    if (!vfio_dma_layout_is_gated(vbasedev)) {
        ret = vfio_dma_layout_start(vdl, vbasedev);
        if (ret) {
            error_setg_errno(errp, -ret, "cannot map populated memory");
            return false;
        }
    }
    if (!OBJECT(bcontainer)->parent) {
        object_property_add_child(qdev_get_machine(), "vfio-container[*]",
                                  OBJECT(bcontainer));
    }
    return true;
}

bool vfio_dma_layout_attach(VFIODevice *vbasedev, Error **errp)
{
    if (!vfio_dma_layout_try_attach(vbasedev, errp)) {
        vfio_device_detach(vbasedev);
        vbasedev->hiod = NULL;
        return false;
    }
    return true;
}

void vfio_dma_layout_detach(VFIODevice *vbasedev)
{
    VFIOContainerBase *bcontainer = vbasedev->bcontainer;
    VFIODevice *first = QLIST_FIRST(&bcontainer->device_list);

    vfio_dma_layout_stop(bcontainer->dma_layout, vbasedev);
    if (first == vbasedev && !QLIST_NEXT(first, container_next) &&
        OBJECT(bcontainer)->parent) {
        object_unparent(OBJECT(bcontainer));
    }
}

/* The object */

VFIODmaLayout *vfio_dma_layout_new(VFIOContainerBase *bcontainer)
{
    VFIODmaLayout *vdl = VFIO_DMA_LAYOUT(object_new(TYPE_VFIO_DMA_LAYOUT));

    vdl->bcontainer = bcontainer;
    object_property_add_child(OBJECT(bcontainer), "dma-layout", OBJECT(vdl));
    object_unref(vdl);
    return vdl;
}

static void vfio_dma_layout_class_init(ObjectClass *oc, ClassInitData *data)
{
    VFIO_DMA_LAYOUT_CLASS(oc)->query = vfio_dma_layout_query;
}

static void vfio_dma_layout_init(Object *obj)
{
    VFIODmaLayout *vdl = VFIO_DMA_LAYOUT(obj);

    vdl->masters = g_hash_table_new(NULL, NULL);
    vdl->refused = g_hash_table_new(NULL, NULL);
    qemu_mutex_init(&vdl->lock);
    vdl->layout = dma_layout_new(&vfio_dma_layout_backend, vdl);
}

static void vfio_dma_layout_finalize(Object *obj)
{
    VFIODmaLayout *vdl = VFIO_DMA_LAYOUT(obj);

    dma_layout_free(vdl->layout);
    qemu_mutex_destroy(&vdl->lock);
    g_hash_table_destroy(vdl->masters);
    g_hash_table_destroy(vdl->refused);
    g_free(vdl->extent_size);
}
