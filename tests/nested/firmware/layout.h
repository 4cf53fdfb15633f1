/*
 * Addresses and sizes that the startup code and the C++ code share
 *
 * The ROM ends at 4 GiB, but the code is linked 2 GiB lower, so that the small
 * code model can address both the ROM and the RAM below 2 GiB. The page tables
 * map the linked addresses to the ROM.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_LAYOUT_H
#define TESTS_NESTED_LAYOUT_H

/* Physical minus linked address of code and data in the ROM */
#define ROM_LINK_OFFSET 0x80000000

/* Direct map of all guest-physical addresses below 512 GiB */
#define DIRECT_MAP_BASE 0x8000000000

/* Page below 1 MiB where the other vCPUs start in real mode */
#define TRAMPOLINE_BASE 0x8000

#define MAX_CPUS       16
#define CPU_STACK_SIZE 0x4000

#endif
