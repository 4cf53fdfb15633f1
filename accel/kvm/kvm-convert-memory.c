/*
 * Conversion of guest memory between shared and private
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>

#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "qapi/qapi-events-shared-dma.h"
#include "kvm-memory-attributes.h"
#include "system/accel-blocker.h"
#include "system/guest-memfd-manager.h"
#include "system/kvm.h"
#include "system/kvm-convert-memory.h"
#include "system/page-state-map-c.h"
#include "system/report-limit.h"
#include "system/shared-dma-compat.h"
#include "trace/trace-system_shared_dma.h"

/* The pause of a vCPU before it retries an access that failed to convert */
#define KVM_CONVERT_PAUSE_US 10000

/*
 * The size of a piece: it bounds how long other threads wait for a lock, or to
 * change memory slots.
 */
#ifndef KVM_CONVERT_PIECE
#define KVM_CONVERT_PIECE (64 * MiB)
#endif

/* The part of a guest-physical range that is still to be converted */
typedef struct KVMConvertRange {
    hwaddr start;
    hwaddr size;
    PageState to;
} KVMConvertRange;

/*
 * The progress of a conversion in several pieces in one RAM block.  Nothing is
 * freed before the last piece has been converted, so that only the states of
 * pages have to be undone if a piece fails.
 */
typedef struct KVMConvertDone {
    /* A reference, dropped with the BQL held */
    MemoryRegion *mr;
    /* The state of pages that have changed is shared in this map. */
    PageStateMap *changed;
    /* The requested parts of the block are within these offsets. */
    uint64_t start;
    uint64_t end;
} KVMConvertDone;

/*
 * The part of a piece that is in one RAM block.  @done is NULL if the
 * conversion has only one piece.
 */
typedef struct KVMConvertPart {
    GuestMemfdConversion conversion;
    MemoryRegion *mr;
    KVMConvertDone *done;
} KVMConvertPart;

/*
 * Held by a thread that locks several managers, so that no two threads can
 * deadlock.
 */
static QemuMutex kvm_convert_multi_lock;

static void __attribute__((constructor)) kvm_convert_memory_init(void)
{
    qemu_mutex_init(&kvm_convert_multi_lock);
}

/* Emit the QMP event when a conversion failed for lack of host resources. */
static void kvm_convert_send_event(hwaddr start, hwaddr size, PageState to,
                                   int err)
{
    /* Protected by the BQL */
    static uint64_t nfailures;

    /* The guest's request was invalid. */
    if (err == EINVAL) {
        return;
    }
    /*
     * The timer of a delayed event expires before its handler takes the
     * monitor's lock.  Without the BQL, an event in between would find that
     * timer, and QEMU would abort.
     */
    BQL_LOCK_GUARD();
    qapi_event_send_guest_memfd_conversion_failed(start, size,
                                                  to == PAGE_STATE_PRIVATE,
                                                  strerror(err), ++nfailures);
}

static int kvm_convert_set_attributes(void *opaque, uint64_t offset,
                                      uint64_t size, PageState state)
{
    const KVMConvertPart *part = opaque;

    return kvm_set_block_attributes(part->conversion.manager, offset, size,
                                    state);
}

static void kvm_convert_changed(void *opaque, uint64_t offset, uint64_t size)
{
    const KVMConvertPart *part = opaque;
    const uint64_t page_size = qemu_real_host_page_size();

    if (part->done) {
        page_state_map_convert(part->done->changed, offset / page_size,
                               size / page_size, PAGE_STATE_SHARED, NULL, NULL);
    }
}

static KVMConvertPart kvm_convert_make_part(MemoryRegion *mr, uint64_t offset,
                                            uint64_t size, PageState to)
{
    return (KVMConvertPart) {
        .conversion = {
            .manager = guest_memfd_manager_from_region(mr),
            .offset = offset,
            .size = size,
            .to = to,
            .set_attributes = kvm_convert_set_attributes,
            .changed = kvm_convert_changed,
        },
        .mr = mr,
    };
}

/*
 * Remove the first part of @range.  Returns 1 if it must be converted, and sets
 * @part, which has at most @max bytes and a reference to its region.  Returns 0
 * if it need not be converted, or -EINVAL if it cannot be converted.
 */
static int kvm_convert_next(KVMConvertRange *range, uint64_t max,
                            KVMConvertPart *part)
{
    const uint64_t page_size = qemu_real_host_page_size();
    MemoryRegionSection section = memory_region_find(get_system_memory(),
                                                     range->start, range->size);
    GuestMemfdManager *gmm = NULL;
    hwaddr gpa = 0, end = 0, skipped = range->size;

    if (section.mr) {
        /* A page that is only partly RAM counts as MMIO. */
        gpa = ROUND_UP(section.offset_within_address_space, page_size);
        end = QEMU_ALIGN_DOWN(section.offset_within_address_space +
                              int128_get64(section.size), page_size);
        gmm = guest_memfd_manager_from_region(section.mr);
        skipped = ROUND_UP(section.offset_within_address_space +
                           int128_get64(section.size), page_size) -
                  range->start;
    }
    if (gmm && gpa < end) {
        skipped = gpa - range->start;
    } else {
        memory_region_unref(section.mr);
        gmm = NULL;
    }
    /* Only RAM with a guest_memfd can be private. */
    if (skipped && range->to == PAGE_STATE_PRIVATE) {
        if (gmm) {
            memory_region_unref(section.mr);
        }
        return -EINVAL;
    }
    range->start += skipped;
    range->size -= skipped;
    if (!gmm) {
        return 0;
    }
    *part = kvm_convert_make_part(section.mr, section.offset_within_region +
                                  (gpa - section.offset_within_address_space),
                                  MIN(end - gpa, max), range->to);
    range->start += part->conversion.size;
    range->size -= part->conversion.size;
    return 1;
}

static void kvm_convert_free_parts(GArray *parts)
{
    for (guint i = 0; i < parts->len; i++) {
        memory_region_unref(g_array_index(parts, KVMConvertPart, i).mr);
    }
    g_array_free(parts, true);
}

/*
 * Find or add the KVMConvertDone in @log for the RAM block of a part, and
 * extend it to the part.  Returns NULL if memory runs out.
 */
static KVMConvertDone *kvm_convert_note(GPtrArray *log,
                                        const KVMConvertPart *part)
{
    const uint64_t start = part->conversion.offset;
    const uint64_t end = start + part->conversion.size;
    KVMConvertDone *done = NULL;

    for (guint i = 0; i < log->len && !done; i++) {
        KVMConvertDone *other = g_ptr_array_index(log, i);

        done = other->mr == part->mr ? other : NULL;
    }
    if (!done) {
        PageStateMap *changed = page_state_map_new(
            part->mr->ram_block->max_length / qemu_real_host_page_size());

        if (!changed) {
            return NULL;
        }
        done = g_new(KVMConvertDone, 1);
        *done = (KVMConvertDone) {
            .mr = part->mr,
            .changed = changed,
            .start = start,
        };
        memory_region_ref(done->mr);
        g_ptr_array_add(log, done);
    }
    done->start = MIN(done->start, start);
    done->end = MAX(done->end, end);
    return done;
}

/*
 * Remove the first piece of @range, and append its parts, which hold references
 * to their regions, to @parts.  @log is NULL if there is only one piece.
 */
static int kvm_convert_collect(GArray *parts, KVMConvertRange *range,
                               GPtrArray *log)
{
    uint64_t left = KVM_CONVERT_PIECE;
    int ret = 0;

    while (range->size && left && ret >= 0) {
        KVMConvertPart part;

        ret = kvm_convert_next(range, left, &part);
        if (ret == 1) {
            left -= part.conversion.size;
            if (log) {
                part.done = kvm_convert_note(log, &part);
                ret = part.done ? 0 : -ENOMEM;
            }
            g_array_append_val(parts, part);
        }
    }
    return MIN(ret, 0);
}

/* Whether part @i has the same manager as an earlier part. */
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
    for (guint i = 0; i < parts->len; i++) {
        guest_memfd_manager_wait_turn(
            g_array_index(parts, KVMConvertPart, i).conversion.manager);
    }
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

    /* The guest must not use memory that is not plugged. */
    for (i = 0; i < parts->len; i++) {
        const GuestMemfdConversion *c =
            &g_array_index(parts, KVMConvertPart, i).conversion;

        if (!guest_memfd_is_plugged(c->manager, c->offset, c->size)) {
            return -EINVAL;
        }
    }
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
        /* -EINVAL is reserved for requests that are not valid. */
        return ret == -EINVAL ? -EIO : ret;
    }
    for (i = 0; i < parts->len; i++) {
        const KVMConvertPart *part = &g_array_index(parts, KVMConvertPart, i);

        guest_memfd_commit(&part->conversion);
        if (!part->done) {
            guest_memfd_free_unused(&part->conversion);
        }
    }
    return 0;
}

/* Remove the first piece of @range and convert it. */
static int kvm_convert_piece(KVMConvertRange *range, GPtrArray *log)
{
    GArray *parts = g_array_new(false, false, sizeof(KVMConvertPart));
    int ret = 0;

    /*
     * The slots of the regions that are found here stay until this section
     * ends.  See guest-memfd-manager.h for the lock order.
     */
    accel_ioctl_begin();
    /* Without the BQL, the last reference to a region must not be dropped. */
    WITH_RCU_READ_LOCK_GUARD() {
        ret = kvm_convert_collect(parts, range, log);
        if (!ret) {
            kvm_convert_lock_parts(parts);
            ret = kvm_convert_parts(parts);
            kvm_convert_unlock_parts(parts);
        }
        kvm_convert_free_parts(parts);
    }
    accel_ioctl_end();
    return ret;
}

/* Check a whole range before any part of it is converted. */
static int kvm_convert_check(KVMConvertRange range)
{
    int ret = 0;

    RCU_READ_LOCK_GUARD();
    while (range.size && ret >= 0) {
        KVMConvertPart part;

        ret = kvm_convert_next(&range, range.size, &part);
        if (ret == 1) {
            memory_region_unref(part.mr);
        }
    }
    return MIN(ret, 0);
}

/* Call @fn with the manager locked for each piece of a range of a block. */
static void kvm_convert_walk(const KVMConvertDone *done, uint64_t start,
                             uint64_t end, PageState to,
                             void (*fn)(const GuestMemfdConversion *c))
{
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(done->mr);

    while (start < end) {
        KVMConvertPart part = kvm_convert_make_part(
            done->mr, start, MIN(end - start, KVM_CONVERT_PIECE), to);

        part.conversion.opaque = &part;
        accel_ioctl_begin();
        guest_memfd_manager_wait_turn(gmm);
        guest_memfd_manager_lock(gmm);
        fn(&part.conversion);
        guest_memfd_manager_unlock(gmm);
        accel_ioctl_end();
        start += part.conversion.size;
    }
}

/* Convert a range of a RAM block.  Called with the manager locked. */
static int kvm_convert_one(const GuestMemfdConversion *c)
{
    int ret = guest_memfd_prepare(c);

    if (!ret) {
        guest_memfd_commit(c);
        guest_memfd_free_unused(c);
    }
    return ret;
}

/*
 * Convert what is still plugged of a range.  The manager counts errors, which
 * cannot be returned.
 */
static void kvm_convert_try(const GuestMemfdConversion *c)
{
    const uint64_t end = c->offset + c->size;
    GuestMemfdConversion part = *c;

    while (guest_memfd_next_plugged(c->manager, &part.offset, &part.size)) {
        kvm_convert_one(&part);
        part.offset += part.size;
        part.size = end - part.offset;
    }
}

/* Convert the pages that a conversion has changed back to @to. */
static void kvm_convert_undo(const KVMConvertDone *done, PageState to)
{
    const uint64_t page_size = qemu_real_host_page_size();
    const uint64_t end = done->end / page_size;
    uint64_t page = done->start / page_size, first, npages;

    while (page_state_map_next_run(done->changed, page, end - page,
                                   PAGE_STATE_SHARED, &first, &npages)) {
        page = first + npages;
        kvm_convert_walk(done, first * page_size, page * page_size, to,
                         kvm_convert_try);
    }
}

static void kvm_convert_done_free(gpointer opaque)
{
    KVMConvertDone *done = opaque;

    page_state_map_free(done->changed);
    memory_region_unref(done->mr);
    g_free(done);
}

static int kvm_convert_large(KVMConvertRange range)
{
    g_autoptr(GPtrArray) log = NULL;
    int ret = kvm_convert_check(range);

    if (ret) {
        return ret;
    }
    log = g_ptr_array_new_with_free_func(kvm_convert_done_free);
    while (range.size && !ret) {
        ret = kvm_convert_piece(&range, log);
    }
    for (guint i = 0; i < log->len; i++) {
        const KVMConvertDone *done = g_ptr_array_index(log, i);

        if (ret) {
            kvm_convert_undo(done, page_state_opposite(range.to));
        }
        /* This includes pages whose conversion could not be undone. */
        kvm_convert_walk(done, done->start, done->end, range.to,
                         guest_memfd_free_unused);
    }
    /* These may be the last references to regions. */
    BQL_LOCK_GUARD();
    g_clear_pointer(&log, g_ptr_array_unref);
    return ret;
}

int kvm_convert_range(hwaddr start, hwaddr size, PageState to)
{
    KVMConvertRange range = {
        .start = start,
        .size = size,
        .to = to,
    };
    int ret = -EINVAL;

    trace_kvm_convert_range(start, size, page_state_str(to));
    if (size && QEMU_IS_ALIGNED(start | size, qemu_real_host_page_size()) &&
        start <= UINT64_MAX - (size - 1)) {
        ret = size > KVM_CONVERT_PIECE ? kvm_convert_large(range)
                                       : kvm_convert_piece(&range, NULL);
    }
    if (ret) {
        warn_report_limited("guest memory 0x%" HWADDR_PRIx "+0x%" HWADDR_PRIx
                            " was not converted to %s: %s", start, size,
                            page_state_str(to), strerror(-ret));
        kvm_convert_send_event(start, size, to, -ret);
    }
    return ret;
}

/* Whether another attempt can succeed after a conversion failed with @ret. */
static bool kvm_convert_can_retry(int ret)
{
    return ret == -ENOMEM || ret == -ENOSPC || ret == -EAGAIN ||
           ret == -EBUSY || ret == -EINTR;
}

/*
 * Make the parts of a range shared for KVM that are not RAM with a guest_memfd.
 * KVM compares the guest's access with the attribute before it looks for a
 * memory slot.  An access to a device at an address that had RAM before would
 * fault forever.
 */
static int kvm_convert_share_rest(hwaddr start, hwaddr size)
{
    KVMConvertRange range = {
        .start = start,
        .size = size,
        .to = PAGE_STATE_PRIVATE,
    };
    int ret = 0;

    /* Only RAM can become private. */
    if (!kvm_convert_check(range)) {
        return 0;
    }
    range.to = PAGE_STATE_SHARED;
    /* The memory map must not change. */
    BQL_LOCK_GUARD();
    while (range.size && !ret) {
        const hwaddr gpa = range.start;
        hwaddr end;
        KVMConvertPart part = { };

        if (kvm_convert_next(&range, range.size, &part)) {
            memory_region_unref(part.mr);
        }
        end = range.start - part.conversion.size;
        if (end != gpa) {
            ret = kvm_share_addresses(gpa, end - gpa);
        }
    }
    return ret;
}

int kvm_convert_memory_fault(const struct kvm_run *run)
{
    const hwaddr start = run->memory_fault.gpa;
    const hwaddr size = run->memory_fault.size;
    const bool to_private = run->memory_fault.flags &
                            KVM_MEMORY_EXIT_FLAG_PRIVATE;
    int ret = kvm_convert_range(start, size,
                                page_state_from_private(to_private));

    if (!ret && !to_private) {
        ret = kvm_convert_share_rest(start, size);
    }
    if (kvm_convert_can_retry(ret)) {
        /* Wait, because the guest repeats its access immediately. */
        g_usleep(KVM_CONVERT_PAUSE_US);
        return 0;
    }
    if (ret) {
        error_report("cannot handle the access to guest memory 0x%" PRIx64
                     ": %s", start, strerror(-ret));
    }
    return ret;
}

static int kvm_convert_block_to_private(RAMBlock *block)
{
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(block->mr);
    uint64_t offset = 0, size = block->max_length;
    int ret = 0;

    guest_memfd_manager_lock_ahead(gmm);
    while (guest_memfd_next_shared(gmm, &offset, &size)) {
        KVMConvertPart part = kvm_convert_make_part(block->mr, offset, size,
                                                    PAGE_STATE_PRIVATE);
        int err;

        part.conversion.opaque = &part;
        err = kvm_convert_one(&part.conversion);
        ret = ret ?: err;
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
