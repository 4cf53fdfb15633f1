/*
 * Shared and private pages of a RAM block with a guest_memfd: internals
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * guest-memfd-manager.c has the object, its locks, and its listeners,
 * guest-memfd-convert.c conversions, guest-memfd-source.c memory devices, and
 * guest-memfd-query.c queries.
 */

#ifndef SYSTEM_GUEST_MEMFD_INTERNAL_H
#define SYSTEM_GUEST_MEMFD_INTERNAL_H

#include "qemu/stats64.h"
#include "qemu/thread.h"
#include "system/guest-memfd-manager.h"
#include "system/guest-memfd-stats.h"
#include "system/page-state-map-c.h"

/* The last failed conversion; @err is a positive errno, 0 if none failed */
typedef struct GuestMemfdLastFailure {
    uint64_t offset;
    uint64_t size;
    PageState to;
    int err;
} GuestMemfdLastFailure;

struct GuestMemfdManager {
    Object parent_obj;

    MemoryRegion *mr;
    uint64_t page_size;

    /*
     * Taken before the lock, and released as soon as the lock is taken, by
     * threads that have priority over conversions which have not begun.
     * Otherwise a vCPU that converts piece after piece would take the lock
     * again before another thread has woken up.
     */
    QemuMutex turnstile;

    /* Protects the members below and the order of notifications. */
    QemuMutex lock;
    PageStateMap *pages;
    GuestMemfdPlaces *places;
    QLIST_HEAD(, RamDiscardListener) listeners;
    GuestMemfdSetAttributes *set_attributes;
    /* A bit for each chunk that is not plugged; NULL without a source */
    unsigned long *unplugged;
    uint64_t chunk_size;

    /* Protected by the BQL */
    RamDiscardManager *source;
    RamDiscardListener source_listener;

    /* Written with the lock held, read without it. */
    struct {
#define GUEST_MEMFD_STAT_FIELD(name, label) Stat64 name;
        GUEST_MEMFD_STATS(GUEST_MEMFD_STAT_FIELD)
#undef GUEST_MEMFD_STAT_FIELD
    } stats;
    Stat64 shared_pages;
    Stat64 unplugged_size;

    /* Protects @last_failure; held only while it is copied */
    QemuMutex last_failure_lock;
    GuestMemfdLastFailure last_failure;
};

/* Called for a run of pages in one state; ends the walk unless it returns 0. */
typedef int (*GuestMemfdRunFn)(GuestMemfdManager *gmm, uint64_t offset,
                               uint64_t size, void *opaque);

/*
 * Call @fn for each run of pages in @state in a range, in ascending order.  A
 * page that is only partly in the range is included as a whole.
 */
int guest_memfd_for_each_run(GuestMemfdManager *gmm, uint64_t offset,
                             uint64_t size, PageState state,
                             GuestMemfdRunFn fn, void *opaque);

/* Record that a part of a conversion's range is in its new state. */
void guest_memfd_mark(const GuestMemfdConversion *c, uint64_t offset,
                      uint64_t size);

/* Count and report a backing that could not be freed, unless @ret is 0. */
void guest_memfd_note_freed(GuestMemfdManager *gmm, uint64_t offset,
                            uint64_t size, const char *backing, int ret);

/* Notify all listeners that a range is discarded. */
void guest_memfd_notify_discard(GuestMemfdManager *gmm, uint64_t offset,
                                uint64_t size);

/*
 * Notify all listeners that a range is populated.  If one of them fails, those
 * before it are notified of a discard, and its error is returned.
 */
int guest_memfd_notify_populate(GuestMemfdManager *gmm, uint64_t offset,
                                uint64_t size);

#endif
