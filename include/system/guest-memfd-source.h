/*
 * Memory devices that plug parts of a RAM block with a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A device such as virtio-mem plugs and unplugs chunks of a RAM block of its
 * own, and implements RamDiscardManager.  If the block has a guest_memfd, its
 * GuestMemfdManager stays the manager of the region, and the device becomes a
 * *source* of that manager: it notifies the manager instead of the listeners.
 *
 * Memory is populated if it is plugged and shared.  Each page is in one of
 * these states:
 *
 *                         backing   attribute   populated
 *   unplugged             none      none        no
 *   plugged and private   private   private     no
 *   plugged and shared    shared    none        yes
 *
 * A chunk is private when it is plugged.  The guest cannot convert unplugged
 * memory, and unplugging ends the sharing of the chunk.  Shared pages are
 * therefore always plugged, so that the states of the pages alone determine
 * what is populated.
 */

#ifndef SYSTEM_GUEST_MEMFD_SOURCE_H
#define SYSTEM_GUEST_MEMFD_SOURCE_H

#include "system/shared-dma-compat.h"

/**
 * guest_memfd_set_source: let a device plug parts of a region's RAM block
 *
 * @source: the device, or NULL to remove it
 *
 * memory_region_set_ram_discard_manager() calls this first.  Memory that a new
 * source has not populated is unplugged.  After the source is removed, which
 * has unplugged everything, all memory is plugged and private.
 *
 * The manager listens to the source for the whole region.  A notification to
 * populate fails, and leaves the chunks unplugged, if the accelerator lacks
 * memory for their attributes.  A notification to discard unplugs what
 * guest_memfd_unplug_range() has not unplugged.
 *
 * Called with the BQL held, while the region is not mapped.  The source
 * notifies with the BQL held.  Returns false, without effect, if the region is
 * to be handled as one without a guest_memfd.
 */
bool guest_memfd_set_source(MemoryRegion *mr, RamDiscardManager *source);

/**
 * guest_memfd_unplug_range: unplug a part of a RAM block, and free its memory
 *
 * @offset, @size: the range in @block, in bytes, multiples of a chunk
 *
 * Without a guest_memfd, this is ram_block_discard_range().  Otherwise the
 * listeners discard the shared pages in the range first, so that no device can
 * access them any more, then both backings are freed.  A backing that cannot
 * be freed is counted and reported.
 *
 * Called with the BQL held, before the source notifies its listeners.  Returns
 * 0 or, only without a guest_memfd, a negative errno.
 */
int guest_memfd_unplug_range(RAMBlock *block, uint64_t offset, uint64_t size);

/**
 * guest_memfd_prealloc: allocate memory that is about to be plugged
 *
 * @offset, @size: the range in @block, in bytes, multiples of the page size
 *
 * Allocates the private backing if the block has a guest_memfd, otherwise the
 * ordinary memory.  Returns false and sets @errp on failure, in which case
 * nothing stays allocated in the guest_memfd.
 */
bool guest_memfd_prealloc(RAMBlock *block, uint64_t offset, uint64_t size,
                          Error **errp);

#endif
