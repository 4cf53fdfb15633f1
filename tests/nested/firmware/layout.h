/*
 * Addresses and sizes that the start code and the C++ code share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_LAYOUT_H
#define TESTS_NESTED_LAYOUT_H

/*
 * Address to which the ROM copies itself, and for which it is linked: a page
 * below 1 MiB, because the other vCPUs start there in real mode
 */
#define IMAGE_BASE 0x8000
#define IMAGE_SIZE 0x10000

#define MAX_CPUS       16
#define CPU_STACK_SIZE 0x4000

#endif
