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
#include "exec/address-spaces.h"
#include "exec/ramblock.h"
#include "exec/ram_addr.h"
#include "system/accel-blocker.h"
#include "system/guest-memfd-manager.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "system/kvm-convert-memory.h"
#include "system/page-state-map-c.h"
#include "system/report-limit.h"
#include "trace.h"
#include "trace/trace-system_shared_dma.h"

/*
 * Others wait no longer for a lock, or to change memory slots, than the
 * conversion of this much takes.
 */
#ifndef KVM_CONVERT_PIECE
#define KVM_CONVERT_PIECE (64 * MiB)
#endif

/* How long a vCPU pauses before it accesses again what cannot be converted */
#define KVM_CONVERT_PAUSE_US 10000

/* A range of guest addresses; what is left of it while it is walked through. */
typedef struct KVMConvertRange {
    hwaddr start;
    hwaddr size;
    bool to_private;
} KVMConvertRange;

/*
 * What a conversion in more than one piece has done to a RAM block.  Nothing is
 * freed before all pieces have been converted: when one of them fails, there is
 * nothing to be undone but the states of pages.
 */
typedef struct KVMConvertDone {
    /* A reference, which only a thread with the BQL drops. */
    MemoryRegion *mr;
    /* Pages that have changed are "shared" in there. */
    PageStateMap *changed;
    /* All that was asked for lies between these offsets. */
    uint64_t start;
    uint64_t end;
} KVMConvertDone;

/*
 * The part of a conversion that lies in one RAM block.  @done is NULL if the
 * conversion is complete when this piece is.
 */
typedef struct KVMConvertPart {
    GuestMemfdConversion conversion;
    MemoryRegion *mr;
    KVMConvertDone *done;
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
 * Emit the QMP event of a conversion that failed for a reason of the host's.
 * That needs no BQL.
 */
static void kvm_convert_send_event(hwaddr start, hwaddr size, bool to_private,
                                   int err)
{
    static ReportLimit limit;
    unsigned int nsilent;

    /* That is for what a guest asked for. */
    if (err == EINVAL) {
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

/*
 * Set the attributes of a place as the pages there are.  Called with the
 * manager locked.  Returns the first error; the others are set all the same.
 */
static int kvm_convert_follow_pages(GuestMemfdManager *gmm,
                                    const GuestMemfdPlace *place)
{
    const uint64_t end = place->offset + place->size;
    const hwaddr delta = place->gpa - place->offset;
    uint64_t done = place->offset;
    int ret = 0;

    while (done < end) {
        uint64_t run = done, run_size = end - done;
        int err;

        if (!guest_memfd_next_shared(gmm, &run, &run_size)) {
            run = end;
            run_size = 0;
        }
        /* What is shared is never private in between: it may be mapped. */
        if (run > done) {
            err = kvm_convert_set_gpa(delta + done, run - done, true);
            ret = ret ?: err;
        }
        if (run_size) {
            err = kvm_convert_set_gpa(delta + run, run_size, false);
            ret = ret ?: err;
        }
        done = run + run_size;
    }
    return ret;
}

/* Set attributes wherever the guest sees these pages, or did the last time. */
static int kvm_convert_set_attributes(void *opaque, uint64_t offset,
                                      uint64_t size, bool to_private)
{
    const KVMConvertPart *part = opaque;
    GuestMemfdManager *gmm = part->conversion.manager;
    const GuestMemfdPlaces *places = guest_memfd_manager_places(gmm);
    GuestMemfdPlace visible;
    guint nset;
    int ret = 0;

    for (nset = 0; nset < places->len; nset++) {
        if (guest_memfd_places_intersect(places, nset, offset, size,
                                         &visible)) {
            ret = kvm_convert_set_gpa(visible.gpa, visible.size, to_private);
            if (ret) {
                break;
            }
        }
    }
    if (!ret) {
        return 0;
    }
    for (guint i = 0; i < nset; i++) {
        if (guest_memfd_places_intersect(places, i, offset, size, &visible) &&
            kvm_convert_follow_pages(gmm, &visible) && to_private) {
            ret = -ENOTRECOVERABLE;
        }
    }
    return ret;
}

static void kvm_convert_changed(void *opaque, uint64_t offset, uint64_t size)
{
    const KVMConvertPart *part = opaque;
    const uint64_t page_size = qemu_real_host_page_size();

    if (part->done) {
        page_state_map_convert(part->done->changed, offset / page_size,
                               size / page_size, true, NULL, NULL);
    }
}

static KVMConvertPart kvm_convert_make_part(MemoryRegion *mr, uint64_t offset,
                                            uint64_t size, bool to_private)
{
    return (KVMConvertPart) {
        .conversion = {
            .manager = guest_memfd_manager_from_region(mr),
            .offset = offset,
            .size = size,
            .to_private = to_private,
            .set_attributes = kvm_convert_set_attributes,
            .changed = kvm_convert_changed,
        },
        .mr = mr,
    };
}

/*
 * Find what @range begins with, and take it off there.  Returns 1 if it is to
 * be converted: @part has at most @max bytes, and a reference to its region.
 * Returns 0 if there is nothing to be done; or -EINVAL.
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
        /* The rest of a page, of which something else has a part, is MMIO. */
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
    /* What is not RAM with a guest_memfd cannot be private. */
    if (skipped && range->to_private) {
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
                                  MIN(end - gpa, max), range->to_private);
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
 * Find the element of @log, a KVMConvertDone, that is for the RAM block of a
 * part, and note that the part is to be converted.  Returns NULL if there is no
 * memory for it.
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
 * Take a piece off @range.  The parts hold references to regions.  @log is NULL
 * if there is no other piece.
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
        /* -EINVAL is for what the guest asked, not for what became of it. */
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

/* Take a piece off @range and convert it. */
static int kvm_convert_piece(KVMConvertRange *range, GPtrArray *log)
{
    GArray *parts = g_array_new(false, false, sizeof(KVMConvertPart));
    int ret = 0;

    /*
     * The slot of a region that is found in here is not taken away before this
     * section ends.  See the lock order in guest-memfd-manager.h, too.
     */
    accel_ioctl_begin();
    /* Nor is the last reference dropped here, which needs the BQL. */
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

/* See that all of a range can be converted, before anything is. */
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

/* Call @fn for parts of a range of a RAM block, each with its manager locked */
static void kvm_convert_walk(const KVMConvertDone *done, uint64_t start,
                             uint64_t end, bool to_private,
                             void (*fn)(const GuestMemfdConversion *c))
{
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(done->mr);

    while (start < end) {
        KVMConvertPart part = kvm_convert_make_part(
            done->mr, start, MIN(end - start, KVM_CONVERT_PIECE), to_private);

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

/* Convert a range of a RAM block, whose manager is locked. */
static int kvm_convert_one(const GuestMemfdConversion *c)
{
    int ret = guest_memfd_prepare(c);

    if (!ret) {
        guest_memfd_commit(c);
        guest_memfd_free_unused(c);
    }
    return ret;
}

/* The same where there is nobody to tell of an error; the manager counts it. */
static void kvm_convert_try(const GuestMemfdConversion *c)
{
    kvm_convert_one(c);
}

/* Give the pages that a conversion has changed back their state. */
static void kvm_convert_undo(const KVMConvertDone *done, bool to_private)
{
    const uint64_t page_size = qemu_real_host_page_size();
    const uint64_t end = done->end / page_size;
    uint64_t page = done->start / page_size, first, npages;

    while (page_state_map_next_run(done->changed, page, end - page, true,
                                   &first, &npages)) {
        page = first + npages;
        kvm_convert_walk(done, first * page_size, page * page_size, to_private,
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
            kvm_convert_undo(done, !range.to_private);
        }
        /* Also what could not be undone */
        kvm_convert_walk(done, done->start, done->end, range.to_private,
                         guest_memfd_free_unused);
    }
    /* A region may have gone meanwhile, but for our reference to it. */
    BQL_LOCK_GUARD();
    g_clear_pointer(&log, g_ptr_array_unref);
    return ret;
}

int kvm_convert_range(hwaddr start, hwaddr size, bool to_private)
{
    KVMConvertRange range = {
        .start = start,
        .size = size,
        .to_private = to_private,
    };
    int ret = -EINVAL;

    if (start <= UINT64_MAX - (size - 1)) {
        ret = size > KVM_CONVERT_PIECE ? kvm_convert_large(range)
                                       : kvm_convert_piece(&range, NULL);
    }
    if (ret) {
        kvm_convert_report(start, size, to_private, -ret);
        kvm_convert_send_event(start, size, to_private, -ret);
    }
    return ret;
}

/*
 * Whether a conversion that failed like this can succeed when it is tried
 * again.
 */
static bool kvm_convert_can_retry(int ret)
{
    return ret == -ENOMEM || ret == -ENOSPC || ret == -EAGAIN ||
           ret == -EBUSY || ret == -EINTR;
}

int kvm_convert_memory_fault(const struct kvm_run *run)
{
    int ret = kvm_convert_memory(
        run->memory_fault.gpa, run->memory_fault.size,
        run->memory_fault.flags & KVM_MEMORY_EXIT_FLAG_PRIVATE);

    if (kvm_convert_can_retry(ret)) {
        /* The guest would be back at once, and keep the host busy. */
        g_usleep(KVM_CONVERT_PAUSE_US);
        return 0;
    }
    if (ret) {
        error_report("a vCPU cannot go on: its access to guest memory 0x%"
                     PRIx64 " failed for good: %s",
                     (uint64_t)run->memory_fault.gpa, strerror(-ret));
    }
    return ret;
}

/* Addresses that a new slot of @mr has show no other block's pages any more. */
static void kvm_convert_remove_places(MemoryRegion *mr, hwaddr gpa,
                                      hwaddr size)
{
    RAMBlock *block;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(block) {
        GuestMemfdManager *gmm = guest_memfd_manager_from_region(block->mr);

        if (gmm && block->mr != mr) {
            guest_memfd_manager_lock_ahead(gmm);
            guest_memfd_places_remove(guest_memfd_manager_places(gmm), gpa,
                                      size);
            guest_memfd_manager_unlock(gmm);
        }
    }
}

int kvm_init_memory_attributes(MemoryRegion *mr, ram_addr_t offset,
                               hwaddr gpa, hwaddr size)
{
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(mr);
    GuestMemfdPlaces *places = guest_memfd_manager_places(gmm);
    const GuestMemfdPlace place = {
        .offset = offset,
        .gpa = gpa,
        .size = size,
    };
    GuestMemfdPlace part = place;
    int ret = 0;

    kvm_convert_remove_places(mr, gpa, size);
    guest_memfd_manager_lock_ahead(gmm);
    while (!ret && guest_memfd_places_next_new(places, &part)) {
        ret = kvm_convert_follow_pages(gmm, &part);
        if (!ret) {
            guest_memfd_places_add(places, &part);
            part = place;
        }
    }
    guest_memfd_manager_unlock(gmm);
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
                                                    true);
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
