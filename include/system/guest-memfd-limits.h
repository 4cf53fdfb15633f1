/*
 * Checks for operations that do not work with private memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Without these checks QEMU would abort on an error of KVM, or the guest would
 * lose data.  Each function returns false and sets @errp if an operation must
 * be refused.
 */

#ifndef SYSTEM_GUEST_MEMFD_LIMITS_H
#define SYSTEM_GUEST_MEMFD_LIMITS_H

#include "hw/mem/memory-device.h"
#include "system/shared-dma-compat.h"

/* Whether the machine's memory has a guest_memfd. */
bool guest_memfd_is_required(void);

/**
 * guest_memfd_check_block: check whether a RAM block can have a guest_memfd
 *
 * Once this has succeeded, the machine cannot be migrated or saved, and
 * memory_global_dirty_log_start() fails.
 *
 * Called with the BQL held, after the block's ordinary memory is allocated.
 */
bool guest_memfd_check_block(const RAMBlock *block, Error **errp);

/* Check whether changes of the guest's memory can be tracked. */
bool guest_memfd_check_tracking(Error **errp);

/* Check whether the guest's memory can be restored from a snapshot. */
bool guest_memfd_check_restore(Error **errp);

/* Check whether the machine can have a memory device of this type. */
bool guest_memfd_check_memory_device(MemoryDeviceState *md, Error **errp);

#endif
