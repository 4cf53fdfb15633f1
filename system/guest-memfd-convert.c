/*
 * Shared and private pages of a RAM block with a guest_memfd: conversions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "system/guest-memfd-backing.h"
#include "system/guest-memfd-internal.h"
#include "system/report-limit.h"
#include "system/shared-dma-compat.h"
#include "trace/trace-system_shared_dma.h"

static int guest_memfd_discard_run(GuestMemfdManager *gmm, uint64_t offset,
                                   uint64_t size, void *opaque)
{
    trace_guest_memfd_discard(memory_region_name(gmm->mr), offset, size);
    guest_memfd_notify_discard(gmm, offset, size);
    return 0;
}

/* Populate a run.  @opaque points to the end of what has been populated. */
static int guest_memfd_populate_run(GuestMemfdManager *gmm, uint64_t offset,
                                    uint64_t size, void *opaque)
{
    uint64_t *end = opaque;
    int ret = guest_memfd_notify_populate(gmm, offset, size);

    trace_guest_memfd_populate(memory_region_name(gmm->mr), offset, size, ret);
    if (!ret) {
        *end = offset + size;
    }
    return ret;
}

/*
 * Populate a run again that was shared before a conversion failed.  If that
 * fails as well, the pages stay shared, but devices cannot access them.
 */
static int guest_memfd_repopulate_run(GuestMemfdManager *gmm, uint64_t offset,
                                      uint64_t size, void *opaque)
{
    uint64_t end;

    if (guest_memfd_populate_run(gmm, offset, size, &end)) {
        stat64_add(&gmm->stats.failures, 1);
        warn_report_limited("guest-memfd: shared memory at offset 0x%" PRIx64
                            " of '%s' is inaccessible to devices until the"
                            " guest makes it private and shares it again",
                            offset, memory_region_name(gmm->mr));
    }
    return 0;
}

/*
 * Make a run private again after its conversion to shared has failed.  If this
 * fails, the guest sees the shared backing.  Every conversion sets the
 * attributes of its whole range, so the guest's next attempt fixes that.
 */
static int guest_memfd_restore_attributes_run(GuestMemfdManager *gmm,
                                              uint64_t offset, uint64_t size,
                                              void *opaque)
{
    const GuestMemfdConversion *c = opaque;
    int ret = c->set_attributes(c->opaque, offset, size, PAGE_STATE_PRIVATE);

    trace_guest_memfd_restore(memory_region_name(gmm->mr), offset, size, ret);
    if (ret) {
        stat64_add(&gmm->stats.failures, 1);
    }
    return 0;
}

static void guest_memfd_changed(void *opaque, uint64_t first, uint64_t npages)
{
    const GuestMemfdConversion *c = opaque;
    GuestMemfdManager *gmm = c->manager;

    trace_guest_memfd_changed(memory_region_name(gmm->mr),
                              first * gmm->page_size, npages * gmm->page_size,
                              page_state_str(c->to));
    if (c->changed) {
        c->changed(c->opaque, first * gmm->page_size, npages * gmm->page_size);
    }
}

void guest_memfd_mark(const GuestMemfdConversion *c, uint64_t offset,
                      uint64_t size)
{
    GuestMemfdManager *gmm = c->manager;

    page_state_map_convert(gmm->pages, offset / gmm->page_size,
                           size / gmm->page_size, c->to, guest_memfd_changed,
                           (void *)c);
    stat64_set(&gmm->shared_pages, page_state_map_nshared(gmm->pages));
    stat64_set(&gmm->stats.shared_runs, page_state_map_nruns(gmm->pages));
}

void guest_memfd_note_freed(GuestMemfdManager *gmm, uint64_t offset,
                            uint64_t size, const char *backing, int ret)
{
    if (!ret) {
        return;
    }
    stat64_add(&gmm->stats.unfreed, 1);
    trace_guest_memfd_unfreed(memory_region_name(gmm->mr), offset, size, ret);
    warn_report_limited("guest-memfd: cannot free the unused %s backing of 0x%"
                        PRIx64 " bytes at offset 0x%" PRIx64 " of '%s': %s",
                        backing, size, offset, memory_region_name(gmm->mr),
                        strerror(-ret));
}

static int guest_memfd_free_shared_run(GuestMemfdManager *gmm, uint64_t offset,
                                       uint64_t size, void *opaque)
{
    int ret = guest_memfd_free_shared(gmm->mr->ram_block, offset, size);

    guest_memfd_note_freed(gmm, offset, size, "shared", ret);
    return 0;
}

static int guest_memfd_free_private_run(GuestMemfdManager *gmm,
                                        uint64_t offset, uint64_t size,
                                        void *opaque)
{
    int ret = guest_memfd_free_private(gmm->mr->ram_block, offset, size);

    guest_memfd_note_freed(gmm, offset, size, "private", ret);
    return 0;
}

/*
 * Make a range private if some of its pages are private already and cannot
 * become shared again: devices must not access them, regardless of the result
 * that the guest receives.
 */
static void guest_memfd_lose(const GuestMemfdConversion *c, uint64_t offset,
                             uint64_t size)
{
    GuestMemfdManager *gmm = c->manager;

    guest_memfd_mark(c, offset, size);
    /* The guest may still see the shared backing at some addresses. */
    if (c->set_attributes(c->opaque, offset, size, PAGE_STATE_PRIVATE)) {
        stat64_add(&gmm->stats.failures, 1);
    }
    guest_memfd_for_each_run(gmm, offset, size, PAGE_STATE_PRIVATE,
                             guest_memfd_free_shared_run, NULL);
}

/* Undo the conversion of a run to private. */
static int guest_memfd_undo_to_private_run(GuestMemfdManager *gmm,
                                           uint64_t offset, uint64_t size,
                                           void *opaque)
{
    const GuestMemfdConversion *c = opaque;
    int ret = c->set_attributes(c->opaque, offset, size, PAGE_STATE_SHARED);

    trace_guest_memfd_restore(memory_region_name(gmm->mr), offset, size, ret);
    if (ret) {
        stat64_add(&gmm->stats.failures, 1);
        guest_memfd_lose(c, offset, size);
        return 0;
    }
    return guest_memfd_repopulate_run(gmm, offset, size, NULL);
}

/* Undo a conversion to shared that listeners have populated up to @end. */
static void guest_memfd_undo_to_shared(const GuestMemfdConversion *c,
                                       uint64_t end)
{
    GuestMemfdManager *gmm = c->manager;

    trace_guest_memfd_rollback(memory_region_name(gmm->mr), c->offset, c->size,
                               page_state_str(PAGE_STATE_PRIVATE));
    guest_memfd_for_each_run(gmm, c->offset, end - c->offset,
                             PAGE_STATE_PRIVATE, guest_memfd_discard_run, NULL);
    guest_memfd_for_each_run(gmm, c->offset, c->size, PAGE_STATE_PRIVATE,
                             guest_memfd_restore_attributes_run, (void *)c);
    /*
     * Listeners that pin pages have caused their allocation, and a device may
     * have written to them.
     */
    guest_memfd_for_each_run(gmm, c->offset, c->size, PAGE_STATE_PRIVATE,
                             guest_memfd_free_shared_run, NULL);
}

static int guest_memfd_prepare_to_shared(const GuestMemfdConversion *c)
{
    GuestMemfdManager *gmm = c->manager;
    uint64_t end = c->offset;
    int ret;

    ret = c->set_attributes(c->opaque, c->offset, c->size, PAGE_STATE_SHARED);
    if (ret) {
        return ret;
    }
    ret = guest_memfd_for_each_run(gmm, c->offset, c->size, PAGE_STATE_PRIVATE,
                                   guest_memfd_populate_run, &end);
    if (ret) {
        guest_memfd_undo_to_shared(c, end);
    }
    return ret;
}

static int guest_memfd_prepare_to_private(const GuestMemfdConversion *c)
{
    GuestMemfdManager *gmm = c->manager;
    int ret;

    guest_memfd_for_each_run(gmm, c->offset, c->size, PAGE_STATE_SHARED,
                             guest_memfd_discard_run, NULL);
    ret = c->set_attributes(c->opaque, c->offset, c->size, PAGE_STATE_PRIVATE);
    if (ret == -ENOTRECOVERABLE) {
        guest_memfd_lose(c, c->offset, c->size);
    } else if (ret) {
        trace_guest_memfd_rollback(memory_region_name(gmm->mr), c->offset,
                                   c->size, page_state_str(PAGE_STATE_SHARED));
        guest_memfd_for_each_run(gmm, c->offset, c->size, PAGE_STATE_SHARED,
                                 guest_memfd_repopulate_run, NULL);
    }
    return ret;
}

static void guest_memfd_record_failure(const GuestMemfdConversion *c, int err)
{
    GuestMemfdManager *gmm = c->manager;

    stat64_add(&gmm->stats.failures, 1);
    QEMU_LOCK_GUARD(&gmm->last_failure_lock);
    gmm->last_failure = (GuestMemfdLastFailure) {
        .offset = c->offset,
        .size = c->size,
        .to = c->to,
        .err = err,
    };
}

int guest_memfd_prepare(const GuestMemfdConversion *c)
{
    int ret;

    if (!guest_memfd_is_plugged(c->manager, c->offset, c->size)) {
        ret = -EINVAL;
    } else if (c->to == PAGE_STATE_PRIVATE) {
        ret = guest_memfd_prepare_to_private(c);
    } else {
        ret = guest_memfd_prepare_to_shared(c);
    }
    trace_guest_memfd_convert(memory_region_name(c->manager->mr), c->offset,
                              c->size, page_state_str(c->to), ret);
    if (ret) {
        guest_memfd_record_failure(c, -ret);
    }
    return ret;
}

void guest_memfd_abort(const GuestMemfdConversion *c)
{
    if (c->to == PAGE_STATE_PRIVATE) {
        trace_guest_memfd_rollback(memory_region_name(c->manager->mr),
                                   c->offset, c->size,
                                   page_state_str(PAGE_STATE_SHARED));
        guest_memfd_for_each_run(c->manager, c->offset, c->size,
                                 PAGE_STATE_SHARED,
                                 guest_memfd_undo_to_private_run, (void *)c);
    } else {
        guest_memfd_undo_to_shared(c, c->offset + c->size);
    }
}

void guest_memfd_commit(const GuestMemfdConversion *c)
{
    GuestMemfdManager *gmm = c->manager;

    guest_memfd_mark(c, c->offset, c->size);
    stat64_add(c->to == PAGE_STATE_PRIVATE ? &gmm->stats.conversions_to_private
                                           : &gmm->stats.conversions_to_shared,
               1);
}

void guest_memfd_free_unused(const GuestMemfdConversion *c)
{
    guest_memfd_for_each_run(c->manager, c->offset, c->size, c->to,
                             c->to == PAGE_STATE_PRIVATE ?
                             guest_memfd_free_shared_run :
                             guest_memfd_free_private_run, NULL);
}
