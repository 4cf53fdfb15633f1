/*
 * The two backings of a RAM block with a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Both functions free what the backing has of @size bytes at @offset of
 * @block; both are multiples of the page size.  They report nothing: guests
 * cause these calls as fast as they run.  They return 0 or a negative errno.
 */

#ifndef SYSTEM_GUEST_MEMFD_BACKING_H
#define SYSTEM_GUEST_MEMFD_BACKING_H

#include "exec/cpu-common.h"

/*
 * Free the shared backing, also where it is locked (-overcommit mem-lock=on).
 * Huge pages of hugetlbfs stay: they are taken from a pool, usually in advance,
 * and may not be there when they are needed again.
 */
int guest_memfd_free_shared(RAMBlock *block, uint64_t offset, uint64_t size);

/* Free the private backing. */
int guest_memfd_free_private(RAMBlock *block, uint64_t offset, uint64_t size);

#endif
