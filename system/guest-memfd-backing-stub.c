/*
 * The two backings of a RAM block with a guest_memfd: hosts other than Linux
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * No RAM block has a guest_memfd there.
 */

#include "qemu/osdep.h"
#include "system/guest-memfd-backing.h"

int guest_memfd_free_shared(RAMBlock *block, uint64_t offset, uint64_t size)
{
    g_assert_not_reached();
}

int guest_memfd_free_private(RAMBlock *block, uint64_t offset, uint64_t size)
{
    g_assert_not_reached();
}

int guest_memfd_free_unplugged(RAMBlock *block, uint64_t offset, uint64_t size)
{
    g_assert_not_reached();
}

int guest_memfd_allocate_private(RAMBlock *block, uint64_t offset,
                                 uint64_t size)
{
    g_assert_not_reached();
}
