/*
 * KVM's memory slots: guest addresses of QEMU's memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_KERNEL_EDGE_MEMORY_SLOTS_H
#define TESTS_NESTED_KERNEL_EDGE_MEMORY_SLOTS_H

#include "kernel-abi.h"

/* Records a slot; size 0 removes it. */
void slots_set(const KvmMemoryRegion2 &region);

/* Returns the region of a slot; its size is 0 if the slot is empty. */
KvmMemoryRegion2 slots_get(uint32_t slot);

/*
 * Calls @function for each part of a range of QEMU's memory that is in a slot.
 * Returns whether there was one.
 */
bool slots_find(uint64_t address, uint64_t size,
                void (*function)(uint64_t gpa, uint64_t size));

/* Whether @fd is the guest_memfd of a slot. */
bool slots_is_guest_memfd(int fd);

#endif
