/*
 * The two backings of a RAM block with a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The functions free or allocate the backing of @size bytes at @offset in
 * @block, which are multiples of the page size.  They return 0 or a negative
 * errno, and do not report errors: a guest can cause these calls as fast as it
 * runs.
 */

#ifndef SYSTEM_GUEST_MEMFD_BACKING_H
#define SYSTEM_GUEST_MEMFD_BACKING_H

#include "exec/cpu-common.h"

/*
 * Free the shared backing, even if it is locked (-overcommit mem-lock=on).
 * Huge pages of hugetlbfs are not freed: they come from a pool, usually
 * allocated in advance, and may not be available when they are needed again.
 */
int guest_memfd_free_shared(RAMBlock *block, uint64_t offset, uint64_t size);

/* Free the private backing. */
int guest_memfd_free_private(RAMBlock *block, uint64_t offset, uint64_t size);

/*
 * Free both backings of memory that is unplugged, including huge pages.  Tries
 * to free one even if the other cannot be freed.
 */
int guest_memfd_free_unplugged(RAMBlock *block, uint64_t offset, uint64_t size);

/* Allocate the private backing.  A part may be allocated on failure. */
int guest_memfd_allocate_private(RAMBlock *block, uint64_t offset,
                                 uint64_t size);

#endif
