/*
 * Conversion of guest memory between shared and private
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>

#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qapi/qapi-events-shared-dma.h"
#include "exec/address-spaces.h"
#include "exec/ramblock.h"
#include "exec/ram_addr.h"
#include "system/accel-blocker.h"
#include "system/guest-memfd-manager.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "system/kvm-convert-memory.h"
#include "system/report-limit.h"
#include "trace.h"
#include "trace/trace-system_shared_dma.h"

/*
 * The part of a conversion that lies in one RAM block.  @gpa is where
 * @conversion.offset of the RAM block is in the guest.
 */
typedef struct KVMConvertPart {
    GuestMemfdConversion conversion;
    MemoryRegion *mr;
    hwaddr gpa;
} KVMConvertPart;

/*
 * A thread that locks more than one manager holds this, so that no two threads
 * can wait for each other's managers.
 */
static QemuMutex kvm_convert_multi_lock;

/* Covers what has been reported of conversions that failed. */
static QemuMutex kvm_convert_report_lock;

static void __attribute__((constructor)) kvm_convert_memory_init(void)
{
    qemu_mutex_init(&kvm_convert_multi_lock);
    qemu_mutex_init(&kvm_convert_report_lock);
}

static void kvm_convert_report(hwaddr start, hwaddr size, bool to_private,
                               int err)
{
    static ReportLimit limit;
    unsigned int nsilent;

    QEMU_LOCK_GUARD(&kvm_convert_report_lock);
    if (!report_limit_allows(&limit, &nsilent)) {
        return;
    }
    warn_report("guest memory 0x%" HWADDR_PRIx "+0x%" HWADDR_PRIx
                " was not converted to %s: %s (%u earlier failures not shown)",
                start, size, to_private ? "private" : "shared", strerror(err),
                nsilent);
}

/*
 * Tell management of a conversion that the host had not enough of something
 * for.  That needs no BQL.
 */
static void kvm_convert_send_event(hwaddr start, hwaddr size, bool to_private,
                                   int err)
{
    static ReportLimit limit;
    unsigned int nsilent;

    if (err != ENOSPC && err != ENOMEM) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&kvm_convert_report_lock) {
        if (!report_limit_allows(&limit, &nsilent)) {
            return;
        }
    }
    qapi_event_send_guest_memfd_conversion_failed(start, size, to_private,
                                                  strerror(err), nsilent);
}

static int kvm_convert_set_gpa(hwaddr gpa, hwaddr size, bool to_private)
{
    struct kvm_memory_attributes attrs = {
        .address = gpa,
        .size = size,
        .attributes = to_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
    };
    int ret = kvm_vm_ioctl(kvm_state, KVM_SET_MEMORY_ATTRIBUTES, &attrs);

    trace_kvm_convert_set_attributes(gpa, size,
                                     to_private ? "private" : "shared", ret);
    return ret;
}

static int kvm_convert_set_attributes(void *opaque, uint64_t offset,
                                      uint64_t size, bool to_private)
{
    const KVMConvertPart *part = opaque;

    return kvm_convert_set_gpa(part->gpa + (offset - part->conversion.offset),
                               size, to_private);
}

/* What a conversion means where there is no guest_memfd; @mr may be NULL. */
static int kvm_convert_unbacked(MemoryRegion *mr, bool to_private)
{
    if (to_private) {
        return -EINVAL;
    }
    /*
     * Firmware makes sure that MMIO is shared by converting all that is not
     * RAM, be there a device or not.  A BAR of an assigned device is MMIO to
     * the guest, although QEMU has it as RAM of the device.
     */
    if (!mr || memory_region_is_ram_device(mr) ||
        (!memory_region_is_ram(mr) && !memory_region_is_romd(mr))) {
        return 0;
    }
    return -EINVAL;
}

static void kvm_convert_free_parts(GArray *parts)
{
    for (guint i = 0; i < parts->len; i++) {
        memory_region_unref(g_array_index(parts, KVMConvertPart, i).mr);
    }
    g_array_free(parts, true);
}

/* Cut a range at region borders.  The parts hold references to regions. */
static int kvm_convert_collect(GArray *parts, hwaddr start, hwaddr size,
                               bool to_private)
{
    const uint64_t page_size = qemu_real_host_page_size();

    while (size) {
        MemoryRegionSection section = memory_region_find(get_system_memory(),
                                                         start, size);
        GuestMemfdManager *gmm = NULL;
        hwaddr hole = size, part_size = 0;
        int ret = 0;

        if (section.mr) {
            hole = section.offset_within_address_space - start;
            part_size = int128_get64(section.size);
            gmm = guest_memfd_manager_from_region(section.mr);
        }
        if (hole) {
            ret = kvm_convert_unbacked(NULL, to_private);
        }
        if (section.mr && !gmm && !ret) {
            ret = kvm_convert_unbacked(section.mr, to_private);
        }
        if (gmm && !ret &&
            !QEMU_IS_ALIGNED(section.offset_within_address_space |
                             section.offset_within_region | part_size,
                             page_size)) {
            ret = -EINVAL;
        }
        if (gmm && !ret) {
            KVMConvertPart part = {
                .conversion = {
                    .manager = gmm,
                    .offset = section.offset_within_region,
                    .size = part_size,
                    .to_private = to_private,
                    .set_attributes = kvm_convert_set_attributes,
                },
                .mr = section.mr,
                .gpa = section.offset_within_address_space,
            };

            g_array_append_val(parts, part);
        } else {
            memory_region_unref(section.mr);
        }
        if (ret) {
            return ret;
        }
        start += hole + part_size;
        size -= hole + part_size;
    }
    return 0;
}

/* Whether the manager of part @i is that of an earlier part. */
static bool kvm_convert_seen(GArray *parts, guint i)
{
    KVMConvertPart *part = &g_array_index(parts, KVMConvertPart, i);

    for (guint j = 0; j < i; j++) {
        if (g_array_index(parts, KVMConvertPart, j).mr == part->mr) {
            return true;
        }
    }
    return false;
}

static void kvm_convert_lock_parts(GArray *parts)
{
    if (parts->len > 1) {
        qemu_mutex_lock(&kvm_convert_multi_lock);
    }
    for (guint i = 0; i < parts->len; i++) {
        if (!kvm_convert_seen(parts, i)) {
            guest_memfd_manager_lock(
                g_array_index(parts, KVMConvertPart, i).conversion.manager);
        }
    }
}

static void kvm_convert_unlock_parts(GArray *parts)
{
    for (guint i = 0; i < parts->len; i++) {
        if (!kvm_convert_seen(parts, i)) {
            guest_memfd_manager_unlock(
                g_array_index(parts, KVMConvertPart, i).conversion.manager);
        }
    }
    if (parts->len > 1) {
        qemu_mutex_unlock(&kvm_convert_multi_lock);
    }
}

/* Convert all parts, or none. */
static int kvm_convert_parts(GArray *parts)
{
    int ret = 0;
    guint i;

    kvm_convert_lock_parts(parts);
    for (i = 0; i < parts->len; i++) {
        KVMConvertPart *part = &g_array_index(parts, KVMConvertPart, i);

        part->conversion.opaque = part;
        ret = guest_memfd_prepare(&part->conversion);
        if (ret) {
            break;
        }
    }
    if (ret) {
        while (i--) {
            guest_memfd_abort(
                &g_array_index(parts, KVMConvertPart, i).conversion);
        }
    } else {
        for (i = 0; i < parts->len; i++) {
            guest_memfd_commit(
                &g_array_index(parts, KVMConvertPart, i).conversion);
        }
    }
    kvm_convert_unlock_parts(parts);
    return ret;
}

static int kvm_convert_range(hwaddr start, hwaddr size, bool to_private)
{
    GArray *parts = g_array_new(false, false, sizeof(KVMConvertPart));
    int ret;

    /*
     * The slot of a region that is found in here is not taken away before this
     * section ends, nor is the last reference to the region dropped by us.
     * See the lock order in guest-memfd-manager.h, too.
     */
    accel_ioctl_begin();
    ret = kvm_convert_collect(parts, start, size, to_private);
    if (!ret) {
        ret = kvm_convert_parts(parts);
        /* -EINVAL is for what the guest asked, not for what became of it. */
        ret = ret == -EINVAL ? -EIO : ret;
    }
    kvm_convert_free_parts(parts);
    accel_ioctl_end();
    return ret;
}

int kvm_convert_memory(hwaddr start, hwaddr size, bool to_private)
{
    int ret = -EINVAL;

    trace_kvm_convert_memory(start, size, to_private ? "shared_to_private"
                                                     : "private_to_shared");
    if (size && QEMU_IS_ALIGNED(start | size, qemu_real_host_page_size()) &&
        start <= UINT64_MAX - (size - 1)) {
        ret = kvm_convert_range(start, size, to_private);
    }
    if (ret) {
        kvm_convert_report(start, size, to_private, -ret);
        kvm_convert_send_event(start, size, to_private, -ret);
    }
    return ret;
}

int kvm_convert_memory_fault(const struct kvm_run *run)
{
    int ret = kvm_convert_memory(
        run->memory_fault.gpa, run->memory_fault.size,
        run->memory_fault.flags & KVM_MEMORY_EXIT_FLAG_PRIVATE);

    return ret == -EINVAL ? ret : 0;
}

int kvm_init_memory_attributes(MemoryRegion *mr, ram_addr_t offset,
                               hwaddr gpa, hwaddr size)
{
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(mr);
    const uint64_t end = offset + size;
    uint64_t done = offset;
    int ret = 0;

    guest_memfd_manager_lock(gmm);
    while (!ret && done < end) {
        uint64_t run = done, run_size = end - done;

        if (!guest_memfd_next_shared(gmm, &run, &run_size)) {
            run = end;
            run_size = 0;
        }
        /* What is shared is never private in between: it may be mapped. */
        if (run > done) {
            ret = kvm_convert_set_gpa(gpa + (done - offset), run - done, true);
        }
        if (!ret && run_size) {
            ret = kvm_convert_set_gpa(gpa + (run - offset), run_size, false);
        }
        done = run + run_size;
    }
    guest_memfd_manager_unlock(gmm);
    return ret;
}

/*
 * Part of a RAM block whose attributes are set wherever the guest sees it, but
 * at @max_places at most.
 */
typedef struct KVMConvertVisible {
    const MemoryRegion *mr;
    uint64_t offset;
    uint64_t size;
    bool to_private;
    unsigned int max_places;
    unsigned int nplaces;
    int ret;
} KVMConvertVisible;

static bool kvm_convert_visible_range(Int128 start, Int128 len,
                                      const MemoryRegion *mr,
                                      hwaddr offset_in_region, void *opaque)
{
    KVMConvertVisible *visible = opaque;
    const uint64_t first = MAX(visible->offset, offset_in_region);
    const uint64_t end = MIN(visible->offset + visible->size,
                             offset_in_region + int128_get64(len));

    if (visible->nplaces == visible->max_places) {
        return true;
    }
    if (mr == visible->mr && first < end) {
        visible->ret = kvm_convert_set_gpa(
            int128_get64(start) + (first - offset_in_region), end - first,
            visible->to_private);
        visible->nplaces += !visible->ret;
    }
    return visible->ret != 0;
}

static int kvm_convert_set_visible(void *opaque, uint64_t offset,
                                   uint64_t size, bool to_private)
{
    KVMConvertVisible visible = {
        .mr = opaque,
        .offset = offset,
        .size = size,
        .to_private = to_private,
        .max_places = UINT_MAX,
    };
    KVMConvertVisible undo = visible;
    FlatView *view;

    RCU_READ_LOCK_GUARD();
    view = address_space_to_flatview(&address_space_memory);
    flatview_for_each_range(view, kvm_convert_visible_range, &visible);
    if (!visible.ret) {
        return 0;
    }
    undo.to_private = !to_private;
    undo.max_places = visible.nplaces;
    flatview_for_each_range(view, kvm_convert_visible_range, &undo);
    return undo.ret ? -ENOTRECOVERABLE : visible.ret;
}

static int kvm_convert_block_to_private(RAMBlock *block)
{
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(block->mr);
    uint64_t offset = 0, size = block->max_length;
    int ret = 0;

    guest_memfd_manager_lock(gmm);
    while (guest_memfd_next_shared(gmm, &offset, &size)) {
        const GuestMemfdConversion conversion = {
            .manager = gmm,
            .offset = offset,
            .size = size,
            .to_private = true,
            .set_attributes = kvm_convert_set_visible,
            .opaque = block->mr,
        };
        int err = guest_memfd_prepare(&conversion);

        if (err) {
            ret = ret ?: err;
        } else {
            guest_memfd_commit(&conversion);
        }
        offset += size;
        size = block->max_length - offset;
    }
    guest_memfd_manager_unlock(gmm);
    return ret;
}

int kvm_convert_all_to_private(void)
{
    RAMBlock *block;
    int ret = 0;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(block) {
        if (block->guest_memfd >= 0) {
            ret = kvm_convert_block_to_private(block) ?: ret;
        }
    }
    return ret;
}
