/*
 * Where the guest sees memory of QEMU
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_KERNEL_EDGE_MEMORY_SLOTS_H
#define TESTS_NESTED_KERNEL_EDGE_MEMORY_SLOTS_H

#include "kernel-abi.h"

/* A slot was set: one of size 0 is gone. */
void slots_set(const KvmMemoryRegion2 &region);

/* What the slot holds now; size 0 if nothing. */
KvmMemoryRegion2 slots_get(uint32_t slot);

/*
 * Calls @function for each part of a range of shared memory that the guest has
 * in a slot. Returns whether there was one.
 */
bool slots_find(uint64_t address, uint64_t size,
                void (*function)(uint64_t gpa, uint64_t size));

/* Whether it is the guest_memfd of a slot. */
bool slots_is_guest_memfd(int fd);

#endif
