/*
 * Fakes of the backings of RAM blocks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "system/guest-memfd-backing.h"
#include "system/guest-memfd-debug.h"
#include "system/guest-memfd-limits.h"
#include "tests/unit/fakes/fakes.h"

int guest_memfd_free_shared(RAMBlock *block, uint64_t offset, uint64_t size)
{
    return fake_free(block, offset, size, PAGE_STATE_SHARED);
}

int guest_memfd_free_private(RAMBlock *block, uint64_t offset, uint64_t size)
{
    return fake_free(block, offset, size, PAGE_STATE_PRIVATE);
}

int guest_memfd_free_unplugged(RAMBlock *block, uint64_t offset, uint64_t size)
{
    return fake_free_unplugged(block, offset, size);
}

int ram_block_discard_range(RAMBlock *block, uint64_t offset, size_t size)
{
    return fake_free_unplugged(block, offset, size);
}

int guest_memfd_allocate_private(RAMBlock *block, uint64_t offset,
                                 uint64_t size)
{
    return fake_allocate(block, offset, size);
}

bool guest_memfd_check_block(const RAMBlock *block, Error **errp)
{
    if (block->flags & RAM_READONLY_FD) {
        error_setg(errp, "read-only");
        return false;
    }
    return true;
}

/* Replaced by the real one where that is tested */
void __attribute__((weak)) guest_memfd_set_debug_ops(MemoryRegion *mr)
{
}
