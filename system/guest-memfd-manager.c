/*
 * Shared and private pages of a RAM block with a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "system/guest-memfd-debug.h"
#include "system/guest-memfd-internal.h"
#include "system/guest-memfd-limits.h"
#include "system/report-limit.h"
#include "system/shared-dma-compat.h"
#include "trace/trace-system_shared_dma.h"

OBJECT_DEFINE_SIMPLE_TYPE_WITH_INTERFACES(GuestMemfdManager,
                                          guest_memfd_manager,
                                          GUEST_MEMFD_MANAGER, OBJECT,
                                          { TYPE_RAM_DISCARD_MANAGER }, { })

int guest_memfd_for_each_run(GuestMemfdManager *gmm, uint64_t offset,
                             uint64_t size, PageState state,
                             GuestMemfdRunFn fn, void *opaque)
{
    uint64_t page = offset / gmm->page_size;
    const uint64_t end = DIV_ROUND_UP(offset + size, gmm->page_size);
    uint64_t first, npages;

    while (page_state_map_next_run(gmm->pages, page, end - page, state,
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

/*
 * Store in @part the part of a section that is in a range.  Returns false if
 * they do not overlap.
 */
static bool guest_memfd_intersect(const MemoryRegionSection *section,
                                  uint64_t offset, uint64_t size,
                                  MemoryRegionSection *part)
{
    const uint64_t start = MAX(section->offset_within_region, offset);
    const uint64_t end = MIN(section->offset_within_region +
                             int128_get64(section->size), offset + size);

    if (start >= end) {
        return false;
    }
    *part = *section;
    part->offset_within_address_space += start - section->offset_within_region;
    part->offset_within_region = start;
    part->size = int128_make64(end - start);
    return true;
}

/* Notify a listener of the part of a range that is in its section. */
static void guest_memfd_listener_discard(RamDiscardListener *rdl,
                                         uint64_t offset, uint64_t size)
{
    MemoryRegionSection part;

    if (guest_memfd_intersect(rdl->section, offset, size, &part)) {
        rdl->notify_discard(rdl, &part);
    }
}

static int guest_memfd_listener_populate(RamDiscardListener *rdl,
                                         uint64_t offset, uint64_t size)
{
    MemoryRegionSection part;

    if (guest_memfd_intersect(rdl->section, offset, size, &part)) {
        return rdl->notify_populate(rdl, &part);
    }
    return 0;
}

void guest_memfd_notify_discard(GuestMemfdManager *gmm, uint64_t offset,
                                uint64_t size)
{
    RamDiscardListener *rdl;

    QLIST_FOREACH(rdl, &gmm->listeners, next) {
        guest_memfd_listener_discard(rdl, offset, size);
    }
}

int guest_memfd_notify_populate(GuestMemfdManager *gmm, uint64_t offset,
                                uint64_t size)
{
    RamDiscardListener *rdl, *populated;

    QLIST_FOREACH(rdl, &gmm->listeners, next) {
        int ret = guest_memfd_listener_populate(rdl, offset, size);

        if (!ret) {
            continue;
        }
        QLIST_FOREACH(populated, &gmm->listeners, next) {
            if (populated == rdl) {
                break;
            }
            guest_memfd_listener_discard(populated, offset, size);
        }
        return ret;
    }
    return 0;
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
                                 *size / gmm->page_size, PAGE_STATE_SHARED,
                                 &first, &npages)) {
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
    ret = page_state_map_all(gmm->pages, first, end - first,
                             PAGE_STATE_SHARED);
    guest_memfd_manager_unlock(gmm);
    return ret;
}

/* A walk over the parts of a section in one state */
typedef struct GuestMemfdReplay {
    const MemoryRegionSection *section;
    ReplayRamDiscardState fn;
    void *opaque;
} GuestMemfdReplay;

static int guest_memfd_replay_run(GuestMemfdManager *gmm, uint64_t offset,
                                  uint64_t size, void *opaque)
{
    const GuestMemfdReplay *replay = opaque;
    MemoryRegionSection part;

    if (!guest_memfd_intersect(replay->section, offset, size, &part)) {
        return 0;
    }
    return replay->fn(&part, replay->opaque);
}

static int guest_memfd_replay(const RamDiscardManager *rdm,
                              const MemoryRegionSection *section,
                              PageState state, ReplayRamDiscardState replay_fn,
                              void *opaque)
{
    GuestMemfdManager *gmm = GUEST_MEMFD_MANAGER(rdm);
    GuestMemfdReplay replay = {
        .section = section,
        .fn = replay_fn,
        .opaque = opaque,
    };
    int ret;

    guest_memfd_manager_lock_ahead(gmm);
    ret = guest_memfd_for_each_run(gmm, section->offset_within_region,
                                   int128_get64(section->size), state,
                                   guest_memfd_replay_run, &replay);
    guest_memfd_manager_unlock(gmm);
    return ret;
}

static int guest_memfd_replay_populated(const RamDiscardManager *rdm,
                                        MemoryRegionSection *section,
                                        ReplayRamDiscardState replay_fn,
                                        void *opaque)
{
    return guest_memfd_replay(rdm, section, PAGE_STATE_SHARED, replay_fn,
                              opaque);
}

static int guest_memfd_replay_private(const RamDiscardManager *rdm,
                                      MemoryRegionSection *section,
                                      ReplayRamDiscardState replay_fn,
                                      void *opaque)
{
    return guest_memfd_replay(rdm, section, PAGE_STATE_PRIVATE, replay_fn,
                              opaque);
}

DEFINE_REPLAY_DISCARDED(guest_memfd_replay_discarded,
                        guest_memfd_replay_private)

/* State of the initial notification of a listener; @ret is its last error */
typedef struct GuestMemfdRegistration {
    RamDiscardListener *rdl;
    int ret;
} GuestMemfdRegistration;

/*
 * Populate a run for a new listener.  An error does not end the walk: the guest
 * has shared all runs already, and does not receive the error.
 */
static int guest_memfd_register_run(GuestMemfdManager *gmm, uint64_t offset,
                                    uint64_t size, void *opaque)
{
    GuestMemfdRegistration *registration = opaque;
    int ret = guest_memfd_listener_populate(registration->rdl, offset, size);

    trace_guest_memfd_listen(memory_region_name(gmm->mr), offset, size, ret);
    if (ret) {
        stat64_add(&gmm->stats.failures, 1);
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
    MemoryRegionSection copy = *section;

    g_assert(section->mr == gmm->mr);
    /*
     * Do not keep the whole memory map of this moment: it has references to
     * all memory in it, which could not be freed when it is unplugged.
     */
    copy.fv = NULL;
    rdl->section = memory_region_section_new_copy(&copy);

    guest_memfd_manager_lock_ahead(gmm);
    QLIST_INSERT_HEAD(&gmm->listeners, rdl, next);
    stat64_add(&gmm->stats.listeners, 1);
    guest_memfd_for_each_run(gmm, section->offset_within_region,
                             int128_get64(section->size), PAGE_STATE_SHARED,
                             guest_memfd_register_run, &registration);
    /* A guest can repeat this by changing its memory map. */
    if (registration.ret) {
        error_report_limited("guest-memfd: some shared memory of '%s' is not"
                             " accessible to a device: %s",
                             memory_region_name(gmm->mr),
                             strerror(-registration.ret));
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
                                 int128_get64(rdl->section->size),
                                 PAGE_STATE_SHARED,
                                 guest_memfd_unregister_run, rdl);
    }
    QLIST_REMOVE(rdl, next);
    stat64_set(&gmm->stats.listeners, stat64_get(&gmm->stats.listeners) - 1);
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
        error_setg(errp, "cannot track the shared pages of '%s': out of memory",
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
    guest_memfd_set_debug_ops(block->mr);
    return true;
}

static void guest_memfd_manager_class_init(ObjectClass *oc, ClassInitData *data)
{
    RamDiscardManagerClass *rdmc = RAM_DISCARD_MANAGER_CLASS(oc);

    rdmc->get_min_granularity = guest_memfd_get_min_granularity;
    rdmc->is_populated = guest_memfd_is_populated;
    rdmc->replay_populated = guest_memfd_replay_populated;
    rdmc->replay_discarded = guest_memfd_replay_discarded;
    rdmc->register_listener = guest_memfd_register_listener;
    rdmc->unregister_listener = guest_memfd_unregister_listener;
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
