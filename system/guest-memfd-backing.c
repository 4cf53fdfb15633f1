/*
 * The two backings of a RAM block with a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>

#include "system/guest-memfd-backing.h"
#include "system/shared-dma-compat.h"

/* Older C libraries lack it; Linux has it since 5.18, guest_memfd since 6.8. */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

static int guest_memfd_punch_hole(int fd, uint64_t offset, uint64_t size)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                     size) ? -errno : 0;
}

static int guest_memfd_discard_shared(RAMBlock *block, uint64_t offset,
                                      uint64_t size)
{
    const bool is_shared = qemu_ram_is_shared(block);
    int ret;

    if (block->fd >= 0) {
        ret = guest_memfd_punch_hole(block->fd, block->fd_offset + offset,
                                     size);
        if (ret) {
            return ret;
        }
    }
    return madvise(block->host + offset, size,
                   is_shared && block->fd < 0 ? MADV_REMOVE
                                              : MADV_DONTNEED_LOCKED) ?
           -errno : 0;
}

int guest_memfd_free_shared(RAMBlock *block, uint64_t offset, uint64_t size)
{
    if (qemu_ram_pagesize(block) != qemu_real_host_page_size()) {
        return 0;
    }
    return guest_memfd_discard_shared(block, offset, size);
}

int guest_memfd_free_private(RAMBlock *block, uint64_t offset, uint64_t size)
{
    return guest_memfd_punch_hole(block->guest_memfd, offset, size);
}

int guest_memfd_free_unplugged(RAMBlock *block, uint64_t offset, uint64_t size)
{
    int shared = guest_memfd_discard_shared(block, offset, size);
    int private = guest_memfd_free_private(block, offset, size);

    return shared ?: private;
}

int guest_memfd_allocate_private(RAMBlock *block, uint64_t offset,
                                 uint64_t size)
{
    return RETRY_ON_EINTR(fallocate(block->guest_memfd, FALLOC_FL_KEEP_SIZE,
                                    offset, size)) ? -errno : 0;
}
