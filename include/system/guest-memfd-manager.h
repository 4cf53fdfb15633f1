/*
 * Shared and private pages of a RAM block with a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A RAM block with a guest_memfd has two backings for each page: the private
 * one is in the guest_memfd, which user space cannot map, the shared one is the
 * RAM block's ordinary memory.  The guest converts pages between the two.  The
 * GuestMemfdManager of a RAM block tracks which pages are shared, and notifies
 * users of the memory, such as VFIO: it is the RamDiscardManager of the block's
 * memory region, where *populated* means shared and *discarded* means private.
 * All pages start private.
 *
 * Locking: each manager has a lock, which protects the states of its pages, its
 * listeners, and a conversion from its preparation to its commit, so that
 * notifications have the order in which pages change.  vCPUs convert without
 * the BQL, in pieces, so that other threads do not wait for long.  Statistics
 * can be read without the lock.
 *
 * Locks are taken in this order:
 *
 *   BQL -> KVM slots lock -> accel_ioctl_begin() -> multi-region lock ->
 *   manager lock
 *
 * A vCPU enters the accelerator's ioctl section before it locks a manager: a
 * thread that inhibits ioctls to change memory slots waits until the conversion
 * is complete, and can then lock the manager itself.  Listeners are called with
 * the lock held.  They must not take the BQL, and must not call the manager.
 */

#ifndef SYSTEM_GUEST_MEMFD_MANAGER_H
#define SYSTEM_GUEST_MEMFD_MANAGER_H

#include "qom/object.h"
#include "system/guest-memfd-places.h"
#include "system/page-state.h"
#include "system/shared-dma-compat.h"

#define TYPE_GUEST_MEMFD_MANAGER "guest-memfd-manager"
OBJECT_DECLARE_SIMPLE_TYPE(GuestMemfdManager, GUEST_MEMFD_MANAGER)

typedef struct GuestMemfdInfo GuestMemfdInfo;
typedef struct SharedDmaWindow SharedDmaWindow;

/*
 * Select the backing that the guest sees in a part of the RAM block.  @offset
 * and @size are in bytes, multiples of the page size.  Returns 0 or a negative
 * errno, in which case nothing has changed.  The exception is -ENOTRECOVERABLE,
 * after a conversion to private: only some of the pages are private, so that
 * all of them must be treated as private, and no device may access them.
 *
 * No listener has a page populated when it becomes private, or before it is
 * shared.  The manager is locked: a function that fails after a part of the
 * range finds the states to restore with guest_memfd_next_shared().
 */
typedef int GuestMemfdSetAttributes(void *opaque, uint64_t offset,
                                    uint64_t size, PageState state);

/* Called for a range of the RAM block whose state has changed. */
typedef void GuestMemfdChanged(void *opaque, uint64_t offset, uint64_t size);

/*
 * A conversion of one range in one RAM block.  @offset and @size are in bytes,
 * are multiples of the page size, and lie within the RAM block.  Unless
 * @changed is NULL, guest_memfd_commit() calls it for each range of pages that
 * were not in state @to before.
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
 * guest_memfd_manager_create: create the manager of a RAM block
 *
 * The manager becomes the RamDiscardManager of @block's memory region, and a
 * QOM child of that region, which owns it.
 *
 * Called with the BQL held.  Returns false and sets @errp on failure.
 */
bool guest_memfd_manager_create(RAMBlock *block, Error **errp);

/**
 * guest_memfd_manager_from_region: get the manager of a region's RAM block
 *
 * Returns NULL if the region has no guest_memfd.
 */
GuestMemfdManager *guest_memfd_manager_from_region(const MemoryRegion *mr);

/* Return the ID of the manager's RAM block. */
const char *guest_memfd_manager_id(const GuestMemfdManager *gmm);

/**
 * guest_memfd_manager_query: describe a RAM block for query-guest-memfd
 *
 * @window: the window whose shared ranges to list, or NULL
 *
 * The caller must add the sections that the guest sees.  The cost depends on
 * @window, not on the number of shared ranges.
 *
 * Called with the BQL held.
 */
GuestMemfdInfo *guest_memfd_manager_query(GuestMemfdManager *gmm,
                                          const SharedDmaWindow *window);

/*
 * Let threads that call guest_memfd_manager_lock_ahead() go first.  Conversions
 * call this before guest_memfd_manager_lock(), with no manager locked.
 */
void guest_memfd_manager_wait_turn(GuestMemfdManager *gmm);

/* Lock the manager for a conversion. */
void guest_memfd_manager_lock(GuestMemfdManager *gmm);

/* Lock the manager before conversions that are still waiting for it. */
void guest_memfd_manager_lock_ahead(GuestMemfdManager *gmm);

void guest_memfd_manager_unlock(GuestMemfdManager *gmm);

/*
 * Return the places at which the guest sees the block's pages.  Called with the
 * manager locked.
 */
GuestMemfdPlaces *guest_memfd_manager_places(GuestMemfdManager *gmm);

/**
 * guest_memfd_prepare: execute the steps of a conversion that can fail
 *
 * To shared: set the accelerator's attributes, then notify listeners to
 * populate.  To private: notify listeners to discard, so that no device can
 * access the pages, then set the attributes.  No backing is freed.
 *
 * Called with the manager locked.  All of the range must be plugged; otherwise
 * the result is -EINVAL.  On success, the caller must call
 * guest_memfd_commit() or guest_memfd_abort() before it unlocks the manager.
 *
 * Returns 0, or the negative errno of the accelerator or of a listener.  On
 * failure nothing has changed, except after -ENOTRECOVERABLE.
 */
int guest_memfd_prepare(const GuestMemfdConversion *conversion);

/**
 * guest_memfd_commit: complete a prepared conversion
 *
 * Records the new state of the pages.  The unused backing stays until
 * guest_memfd_free_unused() is called.
 */
void guest_memfd_commit(const GuestMemfdConversion *conversion);

/**
 * guest_memfd_free_unused: free the backing that a conversion has left unused
 *
 * Frees the unused backing of the pages in the range that are in state @to,
 * whether this conversion or an earlier one changed them.  A failure is counted
 * and reported; it only wastes memory.  The next conversion of the pages tries
 * again.
 *
 * Called with the manager locked.  It may have been unlocked since
 * guest_memfd_commit().
 */
void guest_memfd_free_unused(const GuestMemfdConversion *conversion);

/**
 * guest_memfd_abort: undo a prepared conversion
 *
 * Restores exactly the pages that the conversion would have changed.  After a
 * conversion to private, pages whose attributes cannot be restored stay
 * private, although the guest receives an error.
 */
void guest_memfd_abort(const GuestMemfdConversion *conversion);

/**
 * guest_memfd_next_shared: find the next run of shared pages in a RAM block
 *
 * @offset: in: start of the range to search; out: start of the run
 * @size: in: size of the range to search; out: size of the run
 *
 * Both are in bytes.  Called with the manager locked.  Returns whether a run
 * was found.
 */
bool guest_memfd_next_shared(GuestMemfdManager *gmm, uint64_t *offset,
                             uint64_t *size);

/**
 * guest_memfd_next_private: find the next run of private pages
 *
 * Like guest_memfd_next_shared().  Memory that is unplugged is not included: it
 * is neither shared nor private.  A run can end before another private page.
 */
bool guest_memfd_next_private(GuestMemfdManager *gmm, uint64_t *offset,
                              uint64_t *size);

/*
 * Find the next run of plugged memory, like guest_memfd_next_shared().  All
 * memory is plugged if no memory device owns the block.
 */
bool guest_memfd_next_plugged(const GuestMemfdManager *gmm, uint64_t *offset,
                              uint64_t *size);

/*
 * Whether all of a range is plugged, see guest-memfd-source.h.  Called with the
 * manager locked.
 */
bool guest_memfd_is_plugged(const GuestMemfdManager *gmm, uint64_t offset,
                            uint64_t size);

/*
 * Set the function that sets attributes, at all places, when memory is plugged
 * and unplugged.  Its argument is the manager.  Called with the manager locked.
 */
void guest_memfd_manager_set_accel(GuestMemfdManager *gmm,
                                   GuestMemfdSetAttributes *set_attributes);

#endif
