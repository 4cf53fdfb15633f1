/*
 * What does not work with private memory, and is refused
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * KVM aborts QEMU, or a guest loses its data, where these are not asked before
 * something is begun.  Each returns false and sets @errp if it must not be.
 */

#ifndef SYSTEM_GUEST_MEMFD_LIMITS_H
#define SYSTEM_GUEST_MEMFD_LIMITS_H

#include "exec/memory.h"
#include "hw/mem/memory-device.h"

/**
 * guest_memfd_check_block: whether a RAM block can have a guest_memfd
 *
 * From the first one on that can, the machine cannot be migrated or saved, and
 * memory_global_dirty_log_start() fails.
 *
 * Called with the BQL held, when the block's ordinary memory is there.
 */
bool guest_memfd_check_block(const RAMBlock *block, Error **errp);

/* Whether changes of the guest's memory can be seen, by any means. */
bool guest_memfd_check_tracking(Error **errp);

/* Whether the guest's memory can be replaced by what was saved. */
bool guest_memfd_check_restore(Error **errp);

/* Whether the machine can have a memory device of this kind. */
bool guest_memfd_check_memory_device(MemoryDeviceState *md, Error **errp);

#endif
