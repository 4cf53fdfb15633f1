/*
 * Shared and private pages of a RAM block with a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/stats64.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "exec/ramblock.h"
#include "system/guest-memfd-backing.h"
#include "system/guest-memfd-limits.h"
#include "system/guest-memfd-manager.h"
#include "system/page-state-map-c.h"
#include "system/report-limit.h"
#include "system/shared-dma-view.h"
#include "trace/trace-system_shared_dma.h"

/* A conversion that failed; no error is 0. */
typedef struct GuestMemfdLastFailure {
    uint64_t offset;
    uint64_t size;
    bool to_private;
    int err;
} GuestMemfdLastFailure;

struct GuestMemfdManager {
    Object parent_obj;

    MemoryRegion *mr;
    uint64_t page_size;

    /*
     * Taken before the lock, and given back once that is taken, by who wants
     * it ahead of conversions that are about to begin: vCPUs that convert
     * piece after piece would take the lock again before another thread has
     * even woken up.
     */
    QemuMutex turnstile;

    /* Covers what follows, and the order of listeners' notifications. */
    QemuMutex lock;
    PageStateMap *pages;
    GuestMemfdPlaces *places;
    QLIST_HEAD(, RamDiscardListener) listeners;
    ReportLimit unfreed_reports;
    ReportLimit register_reports;

    /* Written with the lock held, but read without it. */
    Stat64 shared_pages;
    Stat64 shared_runs;
    Stat64 nlisteners;
    Stat64 conversions_to_shared;
    Stat64 conversions_to_private;
    Stat64 failures;
    Stat64 unfreed;

    /* Held for no longer than it takes to copy it. */
    QemuMutex last_failure_lock;
    GuestMemfdLastFailure last_failure;
};

OBJECT_DEFINE_SIMPLE_TYPE_WITH_INTERFACES(GuestMemfdManager,
                                          guest_memfd_manager,
                                          GUEST_MEMFD_MANAGER, OBJECT,
                                          { TYPE_RAM_DISCARD_MANAGER }, { })

/* What is called for a run of pages in one state; stops the walk unless 0. */
typedef int (*GuestMemfdRunFn)(GuestMemfdManager *gmm, uint64_t offset,
                               uint64_t size, void *opaque);

/*
 * Call @fn for each run of shared or private pages of a range, in order.  Pages
 * of which the range has only a part count.
 */
static int guest_memfd_for_each_run(GuestMemfdManager *gmm, uint64_t offset,
                                    uint64_t size, bool shared,
                                    GuestMemfdRunFn fn, void *opaque)
{
    uint64_t page = offset / gmm->page_size;
    const uint64_t end = DIV_ROUND_UP(offset + size, gmm->page_size);
    uint64_t first, npages;

    while (page_state_map_next_run(gmm->pages, page, end - page, shared,
                                   &first, &npages)) {
        int ret = fn(gmm, first * gmm->page_size, npages * gmm->page_size,
                     opaque);

        if (ret) {
            return ret;
        }
        page = first + npages;
    }
    return 0;
}

static bool guest_memfd_intersect(MemoryRegionSection *section,
                                  uint64_t offset, uint64_t size)
{
    const uint64_t start = MAX(section->offset_within_region, offset);
    const uint64_t end = MIN(section->offset_within_region +
                             int128_get64(section->size), offset + size);

    if (start >= end) {
        return false;
    }
    section->offset_within_address_space += start -
                                            section->offset_within_region;
    section->offset_within_region = start;
    section->size = int128_make64(end - start);
    return true;
}

static void guest_memfd_listener_discard(RamDiscardListener *rdl,
                                         uint64_t offset, uint64_t size)
{
    MemoryRegionSection section = *rdl->section;

    if (guest_memfd_intersect(&section, offset, size)) {
        rdl->notify_discard(rdl, &section);
    }
}

static int guest_memfd_listener_populate(RamDiscardListener *rdl,
                                         uint64_t offset, uint64_t size)
{
    MemoryRegionSection section = *rdl->section;

    if (guest_memfd_intersect(&section, offset, size)) {
        return rdl->notify_populate(rdl, &section);
    }
    return 0;
}

static int guest_memfd_discard_run(GuestMemfdManager *gmm, uint64_t offset,
                                   uint64_t size, void *opaque)
{
    RamDiscardListener *rdl;

    trace_guest_memfd_discard(memory_region_name(gmm->mr), offset, size);
    QLIST_FOREACH(rdl, &gmm->listeners, next) {
        guest_memfd_listener_discard(rdl, offset, size);
    }
    return 0;
}

/* Populate a run for all listeners, or, when one objects, for none. */
static int guest_memfd_populate_run(GuestMemfdManager *gmm, uint64_t offset,
                                    uint64_t size, void *opaque)
{
    uint64_t *done = opaque;
    RamDiscardListener *rdl, *told;
    int ret = 0;

    QLIST_FOREACH(rdl, &gmm->listeners, next) {
        ret = guest_memfd_listener_populate(rdl, offset, size);
        if (ret) {
            break;
        }
    }
    trace_guest_memfd_populate(memory_region_name(gmm->mr), offset, size, ret);
    if (ret) {
        QLIST_FOREACH(told, &gmm->listeners, next) {
            if (told == rdl) {
                break;
            }
            guest_memfd_listener_discard(told, offset, size);
        }
        return ret;
    }
    *done = offset + size;
    return 0;
}

/*
 * Populate again what was shared before a conversion that failed.  There is
 * nobody to tell when that fails as well: devices cannot reach those pages
 * then, although they are shared.
 */
static int guest_memfd_repopulate_run(GuestMemfdManager *gmm, uint64_t offset,
                                      uint64_t size, void *opaque)
{
    uint64_t done;

    if (guest_memfd_populate_run(gmm, offset, size, &done)) {
        stat64_add(&gmm->failures, 1);
        warn_report_once("guest-memfd: shared memory at offset 0x%" PRIx64
                         " of '%s' is out of reach of devices until the guest"
                         " makes it private and shares it again", offset,
                         memory_region_name(gmm->mr));
    }
    return 0;
}

/*
 * Make a run private again that could not become shared.  The guest sees the
 * shared backing when this fails.  The next conversion sets the attributes of
 * its whole range, so that a guest that tries again mends it.
 */
static int guest_memfd_restore_attributes_run(GuestMemfdManager *gmm,
                                              uint64_t offset, uint64_t size,
                                              void *opaque)
{
    const GuestMemfdConversion *c = opaque;
    int ret = c->set_attributes(c->opaque, offset, size, true);

    trace_guest_memfd_restore(memory_region_name(gmm->mr), offset, size, ret);
    if (ret) {
        stat64_add(&gmm->failures, 1);
    }
    return 0;
}

static void guest_memfd_changed(void *opaque, uint64_t first, uint64_t npages)
{
    const GuestMemfdConversion *c = opaque;
    GuestMemfdManager *gmm = c->manager;

    trace_guest_memfd_changed(memory_region_name(gmm->mr),
                              first * gmm->page_size, npages * gmm->page_size,
                              c->to_private ? "private" : "shared");
    if (c->changed) {
        c->changed(c->opaque, first * gmm->page_size, npages * gmm->page_size);
    }
}

/* Give a part of a conversion its new state. */
static void guest_memfd_mark(const GuestMemfdConversion *c, uint64_t offset,
                             uint64_t size)
{
    GuestMemfdManager *gmm = c->manager;

    page_state_map_convert(gmm->pages, offset / gmm->page_size,
                           size / gmm->page_size, !c->to_private,
                           guest_memfd_changed, (void *)c);
    stat64_set(&gmm->shared_pages, page_state_map_nshared(gmm->pages));
    stat64_set(&gmm->shared_runs, page_state_map_nruns(gmm->pages));
}

static void guest_memfd_note_unfreed(GuestMemfdManager *gmm, uint64_t offset,
                                     uint64_t size, const char *backing,
                                     int ret)
{
    unsigned int nsilent;

    stat64_add(&gmm->unfreed, 1);
    trace_guest_memfd_unfreed(memory_region_name(gmm->mr), offset, size, ret);
    if (report_limit_allows(&gmm->unfreed_reports, &nsilent)) {
        warn_report("guest-memfd: 0x%" PRIx64 " bytes at offset 0x%" PRIx64
                    " of '%s' are not in use any more, but their %s backing"
                    " cannot be freed: %s (%u earlier reports not shown)", size,
                    offset, memory_region_name(gmm->mr), backing,
                    strerror(-ret), nsilent);
    }
}

/* Free the shared backing of private pages. */
static int guest_memfd_free_shared_run(GuestMemfdManager *gmm, uint64_t offset,
                                       uint64_t size, void *opaque)
{
    int ret = guest_memfd_free_shared(gmm->mr->ram_block, offset, size);

    if (ret) {
        guest_memfd_note_unfreed(gmm, offset, size, "shared", ret);
    }
    return 0;
}

/* Free the private backing of shared pages. */
static int guest_memfd_free_private_run(GuestMemfdManager *gmm,
                                        uint64_t offset, uint64_t size,
                                        void *opaque)
{
    int ret = guest_memfd_free_private(gmm->mr->ram_block, offset, size);

    if (ret) {
        guest_memfd_note_unfreed(gmm, offset, size, "private", ret);
    }
    return 0;
}

/*
 * Make memory private of which some is, and cannot be given back: devices must
 * not reach it, whatever the guest is told.
 */
static void guest_memfd_lose(const GuestMemfdConversion *c, uint64_t offset,
                             uint64_t size)
{
    GuestMemfdManager *gmm = c->manager;

    guest_memfd_mark(c, offset, size);
    /* At some of the places where the guest sees it, it may not be yet. */
    if (c->set_attributes(c->opaque, offset, size, true)) {
        stat64_add(&gmm->failures, 1);
    }
    guest_memfd_for_each_run(gmm, offset, size, false,
                             guest_memfd_free_shared_run, NULL);
}

/* Take back the conversion to private of a run. */
static int guest_memfd_undo_to_private_run(GuestMemfdManager *gmm,
                                           uint64_t offset, uint64_t size,
                                           void *opaque)
{
    const GuestMemfdConversion *c = opaque;
    int ret = c->set_attributes(c->opaque, offset, size, false);

    trace_guest_memfd_restore(memory_region_name(gmm->mr), offset, size, ret);
    if (ret) {
        stat64_add(&gmm->failures, 1);
        guest_memfd_lose(c, offset, size);
        return 0;
    }
    return guest_memfd_repopulate_run(gmm, offset, size, NULL);
}

/* Take back the conversion of private pages, told to listeners up to @end. */
static void guest_memfd_undo_to_shared(const GuestMemfdConversion *c,
                                       uint64_t end)
{
    GuestMemfdManager *gmm = c->manager;

    trace_guest_memfd_rollback(memory_region_name(gmm->mr), c->offset, c->size,
                               "private");
    guest_memfd_for_each_run(gmm, c->offset, end - c->offset, false,
                             guest_memfd_discard_run, NULL);
    guest_memfd_for_each_run(gmm, c->offset, c->size, false,
                             guest_memfd_restore_attributes_run, (void *)c);
    /*
     * Listeners that pin pages have had them allocated, and a device may have
     * written to them.
     */
    guest_memfd_for_each_run(gmm, c->offset, c->size, false,
                             guest_memfd_free_shared_run, NULL);
}

static int guest_memfd_prepare_to_shared(const GuestMemfdConversion *c)
{
    GuestMemfdManager *gmm = c->manager;
    uint64_t done = c->offset;
    int ret;

    ret = c->set_attributes(c->opaque, c->offset, c->size, false);
    if (ret) {
        return ret;
    }
    ret = guest_memfd_for_each_run(gmm, c->offset, c->size, false,
                                   guest_memfd_populate_run, &done);
    if (ret) {
        guest_memfd_undo_to_shared(c, done);
    }
    return ret;
}

static int guest_memfd_prepare_to_private(const GuestMemfdConversion *c)
{
    GuestMemfdManager *gmm = c->manager;
    int ret;

    guest_memfd_for_each_run(gmm, c->offset, c->size, true,
                             guest_memfd_discard_run, NULL);
    ret = c->set_attributes(c->opaque, c->offset, c->size, true);
    if (ret == -ENOTRECOVERABLE) {
        guest_memfd_lose(c, c->offset, c->size);
    } else if (ret) {
        trace_guest_memfd_rollback(memory_region_name(gmm->mr), c->offset,
                                   c->size, "shared");
        guest_memfd_for_each_run(gmm, c->offset, c->size, true,
                                 guest_memfd_repopulate_run, NULL);
    }
    return ret;
}

static void guest_memfd_note_failure(const GuestMemfdConversion *c, int err)
{
    GuestMemfdManager *gmm = c->manager;

    stat64_add(&gmm->failures, 1);
    QEMU_LOCK_GUARD(&gmm->last_failure_lock);
    gmm->last_failure = (GuestMemfdLastFailure) {
        .offset = c->offset,
        .size = c->size,
        .to_private = c->to_private,
        .err = err,
    };
}

int guest_memfd_prepare(const GuestMemfdConversion *c)
{
    int ret = c->to_private ? guest_memfd_prepare_to_private(c)
                            : guest_memfd_prepare_to_shared(c);

    trace_guest_memfd_convert(memory_region_name(c->manager->mr), c->offset,
                              c->size, c->to_private ? "private" : "shared",
                              ret);
    if (ret) {
        guest_memfd_note_failure(c, -ret);
    }
    return ret;
}

void guest_memfd_abort(const GuestMemfdConversion *c)
{
    if (c->to_private) {
        trace_guest_memfd_rollback(memory_region_name(c->manager->mr),
                                   c->offset, c->size, "shared");
        guest_memfd_for_each_run(c->manager, c->offset, c->size, true,
                                 guest_memfd_undo_to_private_run, (void *)c);
    } else {
        guest_memfd_undo_to_shared(c, c->offset + c->size);
    }
}

void guest_memfd_commit(const GuestMemfdConversion *c)
{
    GuestMemfdManager *gmm = c->manager;

    guest_memfd_mark(c, c->offset, c->size);
    stat64_add(c->to_private ? &gmm->conversions_to_private
                             : &gmm->conversions_to_shared, 1);
}

void guest_memfd_free_unused(const GuestMemfdConversion *c)
{
    guest_memfd_for_each_run(c->manager, c->offset, c->size, !c->to_private,
                             c->to_private ? guest_memfd_free_shared_run
                                           : guest_memfd_free_private_run,
                             NULL);
}

void guest_memfd_manager_wait_turn(GuestMemfdManager *gmm)
{
    qemu_mutex_lock(&gmm->turnstile);
    qemu_mutex_unlock(&gmm->turnstile);
}

void guest_memfd_manager_lock(GuestMemfdManager *gmm)
{
    qemu_mutex_lock(&gmm->lock);
}

void guest_memfd_manager_lock_ahead(GuestMemfdManager *gmm)
{
    qemu_mutex_lock(&gmm->turnstile);
    qemu_mutex_lock(&gmm->lock);
    qemu_mutex_unlock(&gmm->turnstile);
}

void guest_memfd_manager_unlock(GuestMemfdManager *gmm)
{
    qemu_mutex_unlock(&gmm->lock);
}

GuestMemfdPlaces *guest_memfd_manager_places(GuestMemfdManager *gmm)
{
    return gmm->places;
}

bool guest_memfd_next_shared(GuestMemfdManager *gmm, uint64_t *offset,
                             uint64_t *size)
{
    uint64_t first, npages;

    if (!page_state_map_next_run(gmm->pages, *offset / gmm->page_size,
                                 *size / gmm->page_size, true, &first,
                                 &npages)) {
        return false;
    }
    *offset = first * gmm->page_size;
    *size = npages * gmm->page_size;
    return true;
}

GuestMemfdManager *guest_memfd_manager_from_region(const MemoryRegion *mr)
{
    return mr->ram_block && mr->ram_block->guest_memfd >= 0 ?
           GUEST_MEMFD_MANAGER(mr->rdm) : NULL;
}

static uint64_t guest_memfd_get_min_granularity(const RamDiscardManager *rdm,
                                                const MemoryRegion *mr)
{
    return GUEST_MEMFD_MANAGER(rdm)->page_size;
}

static bool guest_memfd_is_populated(const RamDiscardManager *rdm,
                                     const MemoryRegionSection *section)
{
    GuestMemfdManager *gmm = GUEST_MEMFD_MANAGER(rdm);
    const uint64_t first = section->offset_within_region / gmm->page_size;
    const uint64_t end = DIV_ROUND_UP(section->offset_within_region +
                                      int128_get64(section->size),
                                      gmm->page_size);

    bool ret;

    guest_memfd_manager_lock_ahead(gmm);
    ret = page_state_map_all(gmm->pages, first, end - first, true);
    guest_memfd_manager_unlock(gmm);
    return ret;
}

/* A walk over the parts of a section that have one state. */
typedef struct GuestMemfdReplay {
    const MemoryRegionSection *section;
    ReplayRamPopulate populate;
    ReplayRamDiscard discard;
    void *opaque;
} GuestMemfdReplay;

static int guest_memfd_replay_run(GuestMemfdManager *gmm, uint64_t offset,
                                  uint64_t size, void *opaque)
{
    GuestMemfdReplay *replay = opaque;
    MemoryRegionSection section = *replay->section;

    if (!guest_memfd_intersect(&section, offset, size)) {
        return 0;
    }
    if (replay->populate) {
        return replay->populate(&section, replay->opaque);
    }
    replay->discard(&section, replay->opaque);
    return 0;
}

static int guest_memfd_replay(GuestMemfdManager *gmm, GuestMemfdReplay *replay)
{
    const MemoryRegionSection *section = replay->section;
    int ret;

    guest_memfd_manager_lock_ahead(gmm);
    ret = guest_memfd_for_each_run(gmm, section->offset_within_region,
                                   int128_get64(section->size),
                                   replay->populate != NULL,
                                   guest_memfd_replay_run, replay);
    guest_memfd_manager_unlock(gmm);
    return ret;
}

static int guest_memfd_replay_populated(const RamDiscardManager *rdm,
                                        MemoryRegionSection *section,
                                        ReplayRamPopulate replay_fn,
                                        void *opaque)
{
    GuestMemfdReplay replay = {
        .section = section,
        .populate = replay_fn,
        .opaque = opaque,
    };

    return guest_memfd_replay(GUEST_MEMFD_MANAGER(rdm), &replay);
}

static void guest_memfd_replay_discarded(const RamDiscardManager *rdm,
                                         MemoryRegionSection *section,
                                         ReplayRamDiscard replay_fn,
                                         void *opaque)
{
    GuestMemfdReplay replay = {
        .section = section,
        .discard = replay_fn,
        .opaque = opaque,
    };

    guest_memfd_replay(GUEST_MEMFD_MANAGER(rdm), &replay);
}

/* What became of telling a new listener of all that is shared. */
typedef struct GuestMemfdRegistration {
    RamDiscardListener *rdl;
    int ret;
} GuestMemfdRegistration;

/*
 * A run that the listener does not take is no reason to keep the others from
 * it: the guest, which has shared them all, hears of no error.
 */
static int guest_memfd_register_run(GuestMemfdManager *gmm, uint64_t offset,
                                    uint64_t size, void *opaque)
{
    GuestMemfdRegistration *registration = opaque;
    int ret = guest_memfd_listener_populate(registration->rdl, offset, size);

    trace_guest_memfd_listen(memory_region_name(gmm->mr), offset, size, ret);
    if (ret) {
        stat64_add(&gmm->failures, 1);
        registration->ret = ret;
    }
    return 0;
}

static int guest_memfd_unregister_run(GuestMemfdManager *gmm, uint64_t offset,
                                      uint64_t size, void *opaque)
{
    guest_memfd_listener_discard(opaque, offset, size);
    return 0;
}

static void guest_memfd_register_listener(RamDiscardManager *rdm,
                                          RamDiscardListener *rdl,
                                          MemoryRegionSection *section)
{
    GuestMemfdManager *gmm = GUEST_MEMFD_MANAGER(rdm);
    GuestMemfdRegistration registration = { .rdl = rdl };
    unsigned int nsilent;

    g_assert(section->mr == gmm->mr);
    rdl->section = memory_region_section_new_copy(section);

    guest_memfd_manager_lock_ahead(gmm);
    QLIST_INSERT_HEAD(&gmm->listeners, rdl, next);
    stat64_add(&gmm->nlisteners, 1);
    guest_memfd_for_each_run(gmm, section->offset_within_region,
                             int128_get64(section->size), true,
                             guest_memfd_register_run, &registration);
    /* A guest that changes its memory map can have this happen again. */
    if (registration.ret &&
        report_limit_allows(&gmm->register_reports, &nsilent)) {
        error_report("guest-memfd: shared memory of '%s' cannot all be made"
                     " accessible to a device: %s"
                     " (%u earlier reports not shown)",
                     memory_region_name(gmm->mr), strerror(-registration.ret),
                     nsilent);
    }
    guest_memfd_manager_unlock(gmm);
}

static void guest_memfd_unregister_listener(RamDiscardManager *rdm,
                                            RamDiscardListener *rdl)
{
    GuestMemfdManager *gmm = GUEST_MEMFD_MANAGER(rdm);

    guest_memfd_manager_lock_ahead(gmm);
    if (rdl->double_discard_supported) {
        rdl->notify_discard(rdl, rdl->section);
    } else {
        guest_memfd_for_each_run(gmm, rdl->section->offset_within_region,
                                 int128_get64(rdl->section->size), true,
                                 guest_memfd_unregister_run, rdl);
    }
    QLIST_REMOVE(rdl, next);
    stat64_set(&gmm->nlisteners, stat64_get(&gmm->nlisteners) - 1);
    guest_memfd_manager_unlock(gmm);
    memory_region_section_free_copy(rdl->section);
    rdl->section = NULL;
}

bool guest_memfd_manager_create(RAMBlock *block, Error **errp)
{
    GuestMemfdManager *gmm;
    PageStateMap *pages;

    if (!guest_memfd_check_block(block, errp)) {
        return false;
    }
    pages = page_state_map_new(block->max_length / qemu_real_host_page_size());
    if (!pages) {
        error_setg(errp, "cannot track the shared pages of '%s': no memory",
                   memory_region_name(block->mr));
        return false;
    }

    gmm = GUEST_MEMFD_MANAGER(object_new(TYPE_GUEST_MEMFD_MANAGER));
    gmm->mr = block->mr;
    gmm->pages = pages;
    memory_region_set_ram_discard_manager(block->mr, RAM_DISCARD_MANAGER(gmm));
    object_property_add_child(OBJECT(block->mr), "guest-memfd-manager",
                              OBJECT(gmm));
    object_unref(gmm);
    return true;
}

/* Queries */

const char *guest_memfd_manager_id(const GuestMemfdManager *gmm)
{
    return gmm->mr->ram_block->idstr;
}

static GuestMemfdFailure *guest_memfd_get_last_failure(GuestMemfdManager *gmm)
{
    GuestMemfdLastFailure last;
    GuestMemfdFailure *failure;

    WITH_QEMU_LOCK_GUARD(&gmm->last_failure_lock) {
        last = gmm->last_failure;
    }
    if (!last.err) {
        return NULL;
    }
    failure = g_new0(GuestMemfdFailure, 1);
    failure->offset = last.offset;
    failure->size = last.size;
    failure->to_private = last.to_private;
    failure->error = g_strdup(strerror(last.err));
    return failure;
}

static uint64_t guest_memfd_shared_size(const GuestMemfdManager *gmm)
{
    return stat64_get(&gmm->shared_pages) * gmm->page_size;
}

static void guest_memfd_list_ranges(GuestMemfdManager *gmm,
                                    const SharedDmaView *view,
                                    GuestMemfdWindow *out)
{
    GuestMemfdRangeList **tail = &out->ranges;
    const uint64_t end = view->start + view->size;
    uint64_t offset = view->start, size = view->size;
    uint32_t n;

    for (n = 0; guest_memfd_next_shared(gmm, &offset, &size); n++) {
        GuestMemfdRange *range;

        if (n == view->max) {
            out->more = true;
            return;
        }
        range = g_new0(GuestMemfdRange, 1);
        range->offset = offset;
        range->size = size;
        QAPI_LIST_APPEND(tail, range);
        offset += size;
        size = end - offset;
    }
}

static void guest_memfd_list_cells(GuestMemfdManager *gmm,
                                   const SharedDmaView *view,
                                   GuestMemfdWindow *out)
{
    uint64List **tail = &out->cells;
    const uint64_t end = view->start + view->size;

    for (uint64_t i = 0; i < view->ncells; i++) {
        const uint64_t start = view->start + i * view->cell_size;
        const uint64_t size = MIN(view->cell_size, end - start);
        uint64_t nshared = page_state_map_count_shared(
            gmm->pages, start / gmm->page_size, size / gmm->page_size);

        QAPI_LIST_APPEND(tail, nshared * gmm->page_size);
    }
}

static GuestMemfdWindow *guest_memfd_look(GuestMemfdManager *gmm,
                                          const SharedDmaWindow *window)
{
    const SharedDmaView view =
        shared_dma_view(window, memory_region_size(gmm->mr));
    GuestMemfdWindow *out = g_new0(GuestMemfdWindow, 1);

    out->start = view.start;
    out->size = view.size;
    guest_memfd_list_ranges(gmm, &view, out);
    if (window->has_cells) {
        out->has_cell_size = true;
        out->cell_size = view.cell_size;
        out->has_cells = true;
        guest_memfd_list_cells(gmm, &view, out);
    }
    return out;
}

GuestMemfdInfo *guest_memfd_manager_query(GuestMemfdManager *gmm,
                                          const SharedDmaWindow *window)
{
    GuestMemfdInfo *info = g_new0(GuestMemfdInfo, 1);

    info->id = g_strdup(guest_memfd_manager_id(gmm));
    info->qom_path = object_get_canonical_path(OBJECT(gmm));
    info->size = memory_region_size(gmm->mr);
    info->page_size = gmm->page_size;

    info->shared_size = guest_memfd_shared_size(gmm);
    info->private_size = info->size - info->shared_size;
    info->shared_runs = stat64_get(&gmm->shared_runs);
    info->conversions_to_shared = stat64_get(&gmm->conversions_to_shared);
    info->conversions_to_private = stat64_get(&gmm->conversions_to_private);
    info->failures = stat64_get(&gmm->failures);
    info->unfreed = stat64_get(&gmm->unfreed);
    info->listeners = stat64_get(&gmm->nlisteners);
    info->last_failure = guest_memfd_get_last_failure(gmm);
    if (window) {
        guest_memfd_manager_lock_ahead(gmm);
        info->window = guest_memfd_look(gmm, window);
        guest_memfd_manager_unlock(gmm);
    }
    return info;
}

/* Properties */

static void guest_memfd_get_size(Object *obj, Visitor *v, const char *name,
                                 void *opaque, Error **errp)
{
    uint64_t size = memory_region_size(GUEST_MEMFD_MANAGER(obj)->mr);

    visit_type_size(v, name, &size, errp);
}

static void guest_memfd_get_shared_size(Object *obj, Visitor *v,
                                        const char *name, void *opaque,
                                        Error **errp)
{
    uint64_t size = guest_memfd_shared_size(GUEST_MEMFD_MANAGER(obj));

    visit_type_size(v, name, &size, errp);
}

static void guest_memfd_get_counter(Object *obj, Visitor *v, const char *name,
                                    void *opaque, Error **errp)
{
    uint64_t value = stat64_get((Stat64 *)((char *)obj + (uintptr_t)opaque));

    visit_type_uint64(v, name, &value, errp);
}

static void guest_memfd_manager_add_counter(ObjectClass *oc, const char *name,
                                            size_t field,
                                            const char *description)
{
    object_class_property_add(oc, name, "uint64", guest_memfd_get_counter,
                              NULL, NULL, (void *)(uintptr_t)field);
    object_class_property_set_description(oc, name, description);
}

static void guest_memfd_manager_class_init(ObjectClass *oc, void *data)
{
    RamDiscardManagerClass *rdmc = RAM_DISCARD_MANAGER_CLASS(oc);

    rdmc->get_min_granularity = guest_memfd_get_min_granularity;
    rdmc->is_populated = guest_memfd_is_populated;
    rdmc->replay_populated = guest_memfd_replay_populated;
    rdmc->replay_discarded = guest_memfd_replay_discarded;
    rdmc->register_listener = guest_memfd_register_listener;
    rdmc->unregister_listener = guest_memfd_unregister_listener;

    object_class_property_add(oc, "size", "size", guest_memfd_get_size,
                              NULL, NULL, NULL);
    object_class_property_set_description(oc, "size",
        "Size of the RAM block, in bytes");
    object_class_property_add(oc, "shared-size", "size",
                              guest_memfd_get_shared_size, NULL, NULL, NULL);
    object_class_property_set_description(oc, "shared-size",
        "How much of it is shared, in bytes");
    guest_memfd_manager_add_counter(oc, "conversions-to-shared",
        offsetof(GuestMemfdManager, conversions_to_shared),
        "Conversions to shared that were carried out, in pieces of 64 MiB");
    guest_memfd_manager_add_counter(oc, "conversions-to-private",
        offsetof(GuestMemfdManager, conversions_to_private),
        "Conversions to private that were carried out, in pieces of 64 MiB");
    guest_memfd_manager_add_counter(oc, "failures",
        offsetof(GuestMemfdManager, failures),
        "Steps of conversions that failed");
    guest_memfd_manager_add_counter(oc, "unfreed",
        offsetof(GuestMemfdManager, unfreed),
        "How often memory that is not in use could not be freed");
}

static void guest_memfd_manager_init(Object *obj)
{
    GuestMemfdManager *gmm = GUEST_MEMFD_MANAGER(obj);

    gmm->page_size = qemu_real_host_page_size();
    qemu_mutex_init(&gmm->turnstile);
    qemu_mutex_init(&gmm->lock);
    qemu_mutex_init(&gmm->last_failure_lock);
    gmm->places = guest_memfd_places_new();
    QLIST_INIT(&gmm->listeners);
}

static void guest_memfd_manager_finalize(Object *obj)
{
    GuestMemfdManager *gmm = GUEST_MEMFD_MANAGER(obj);

    g_assert(QLIST_EMPTY(&gmm->listeners));
    if (gmm->mr) {
        memory_region_set_ram_discard_manager(gmm->mr, NULL);
    }
    page_state_map_free(gmm->pages);
    guest_memfd_places_free(gmm->places);
    qemu_mutex_destroy(&gmm->last_failure_lock);
    qemu_mutex_destroy(&gmm->lock);
    qemu_mutex_destroy(&gmm->turnstile);
}
