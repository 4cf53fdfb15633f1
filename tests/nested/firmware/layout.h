/*
 * Addresses and selectors that both the start code and the C++ code use
 *
 * The ROM is at the top of 4 GiB, but the code is linked 2 GiB lower, where
 * the small code model reaches both it and the RAM below 2 GiB; the page
 * tables make up for the difference.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_LAYOUT_H
#define TESTS_NESTED_LAYOUT_H

/* Physical minus linked address of what is in the ROM. */
#define ROM_LINK_OFFSET 0x80000000

/* All guest-physical addresses below 512 GiB appear from here on. */
#define DIRECT_MAP_BASE 0x8000000000

/* Selectors in the descriptor table of start.S. */
#define SELECTOR_CODE32 0x08
#define SELECTOR_DATA   0x10
#define SELECTOR_CODE64 0x18

/* A page below 1 MiB, where the other vCPUs start in real mode. */
#define TRAMPOLINE_BASE 0x8000

#define MAX_CPUS       16
#define CPU_STACK_SIZE 0x4000

#endif
