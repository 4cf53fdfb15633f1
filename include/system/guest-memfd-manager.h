/*
 * Shared and private pages of a RAM block with a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A RAM block with a guest_memfd has two backings for each page: the private
 * one in the guest_memfd, which user space cannot map, and the shared one,
 * which is the RAM block's ordinary memory.  The guest converts pages between
 * the two.  A GuestMemfdManager, one for each such RAM block, knows which
 * pages are shared and tells those who need to know, VFIO above all: it is the
 * RamDiscardManager of the block's memory region, where *populated* means
 * shared and *discarded* means private.  All pages start private.
 *
 * Locking: a manager has a lock of its own, which covers the state of its
 * pages, its listeners, and a conversion from its preparation to its commit, so
 * that what listeners hear has the order in which pages change.  vCPUs convert
 * without the BQL, and in pieces, so that nobody waits for long; counters can
 * be read without the lock.
 *
 *   BQL -> KVM slots lock -> accel_ioctl_begin() -> multi-region lock ->
 *   manager lock
 *
 * is the order in which they are taken.  A conversion by a vCPU enters the
 * accelerator's ioctl section before it locks a manager: a thread that
 * inhibits ioctls to change memory slots waits until such a conversion is over
 * and may then lock the manager itself.  Listeners are called with the lock
 * held.  They must not take the BQL and must not call back into the manager.
 */

#ifndef SYSTEM_GUEST_MEMFD_MANAGER_H
#define SYSTEM_GUEST_MEMFD_MANAGER_H

#include "exec/memory.h"
#include "qom/object.h"
#include "system/guest-memfd-places.h"
#include "system/page-state.h"

#define TYPE_GUEST_MEMFD_MANAGER "guest-memfd-manager"
OBJECT_DECLARE_SIMPLE_TYPE(GuestMemfdManager, GUEST_MEMFD_MANAGER)

typedef struct GuestMemfdInfo GuestMemfdInfo;
typedef struct SharedDmaWindow SharedDmaWindow;

/*
 * Tell the accelerator which backing the guest shall see in a part of the RAM
 * block.  @offset and @size are in bytes and multiples of the page size.
 * Returns 0 or a negative errno.  On an error nothing has changed, but on
 * -ENOTRECOVERABLE pages are private that were to become so, although others
 * are not: all count as private then, and devices reach none of them.
 */
typedef int GuestMemfdSetAttributes(void *opaque, uint64_t offset,
                                    uint64_t size, PageState state);

/* A range of the RAM block has another state now. */
typedef void GuestMemfdChanged(void *opaque, uint64_t offset, uint64_t size);

/*
 * A conversion of one range in one RAM block.  @offset and @size are in bytes,
 * multiples of the page size, and lie within the RAM block.  @changed can be
 * NULL; otherwise guest_memfd_commit() calls it for each range of pages that
 * did not have the new state before.
 */
typedef struct GuestMemfdConversion {
    GuestMemfdManager *manager;
    uint64_t offset;
    uint64_t size;
    PageState to;
    GuestMemfdSetAttributes *set_attributes;
    GuestMemfdChanged *changed;
    void *opaque;
} GuestMemfdConversion;

/**
 * guest_memfd_manager_create: make the manager of a RAM block
 *
 * The manager becomes the RamDiscardManager of @block's memory region, and a
 * QOM child of that region, with which it goes away.
 *
 * Called with the BQL held.  Returns false and sets @errp on failure.
 */
bool guest_memfd_manager_create(RAMBlock *block, Error **errp);

/**
 * guest_memfd_manager_from_region: the manager of a region's RAM block
 *
 * Returns NULL for a region that has no guest_memfd.
 */
GuestMemfdManager *guest_memfd_manager_from_region(const MemoryRegion *mr);

/* The name of a manager's RAM block. */
const char *guest_memfd_manager_id(const GuestMemfdManager *gmm);

/**
 * guest_memfd_manager_query: tell what there is to be known of a RAM block
 *
 * @window: what to list, NULL for nothing
 *
 * All but the sections that the guest sees.  What it costs depends on the
 * number of listeners and on @window, not on the number of shared ranges.
 *
 * Called with the BQL held.
 */
GuestMemfdInfo *guest_memfd_manager_query(GuestMemfdManager *gmm,
                                          const SharedDmaWindow *window);

/*
 * Conversions call both, with no manager locked when they wait for their turn;
 * all others lock ahead of conversions that have not had their turn yet.
 */
void guest_memfd_manager_wait_turn(GuestMemfdManager *gmm);
void guest_memfd_manager_lock(GuestMemfdManager *gmm);
void guest_memfd_manager_lock_ahead(GuestMemfdManager *gmm);
void guest_memfd_manager_unlock(GuestMemfdManager *gmm);

/* Where the guest sees the block's pages.  Called with the manager locked. */
GuestMemfdPlaces *guest_memfd_manager_places(GuestMemfdManager *gmm);

/**
 * guest_memfd_prepare: do all of a conversion that can fail
 *
 * To shared: the accelerator's attributes are set, then listeners are told to
 * populate.  To private: listeners are told to discard, so that no device
 * reaches the pages any more, then the attributes are set.  No backing is
 * touched.
 *
 * Called with the manager locked.  Must be followed, before it is unlocked, by
 * guest_memfd_commit() or guest_memfd_abort().
 *
 * Returns 0, or a negative errno when the accelerator or a listener refused;
 * all is then as it was before, except after -ENOTRECOVERABLE.
 */
int guest_memfd_prepare(const GuestMemfdConversion *conversion);

/**
 * guest_memfd_commit: complete a prepared conversion
 *
 * The pages have their new state.  What they had before is still there, until
 * guest_memfd_free_unused() is called.
 */
void guest_memfd_commit(const GuestMemfdConversion *conversion);

/**
 * guest_memfd_free_unused: free what a conversion has left
 *
 * Free the former backing of those pages of the range that are in the state
 * that they were converted to, now or before.  A backing that cannot be freed
 * costs memory and nothing else: that is counted, reported, and tried again by
 * the next conversion of the page.
 *
 * Called with the manager locked, which it need not have been all the time
 * since guest_memfd_commit().
 */
void guest_memfd_free_unused(const GuestMemfdConversion *conversion);

/**
 * guest_memfd_abort: take back a prepared conversion
 *
 * Exactly those pages that the conversion would have changed go back to their
 * former state.  Pages whose attributes cannot be given back stay private after
 * a conversion to private, which the guest was told has failed.
 */
void guest_memfd_abort(const GuestMemfdConversion *conversion);

/**
 * guest_memfd_next_shared: find the next shared pages of a RAM block
 *
 * @offset: where to search from; where the pages begin, when there are any
 * @size: how far to search; the length of the run, when there is one
 *
 * Both are in bytes.  Called with the manager locked.  Returns whether there
 * are any.
 */
bool guest_memfd_next_shared(GuestMemfdManager *gmm, uint64_t *offset,
                             uint64_t *size);

#endif
