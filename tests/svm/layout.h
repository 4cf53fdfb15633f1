/*
 * Addresses and vectors that the start code and the C++ code share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_LAYOUT_H
#define TESTS_SVM_LAYOUT_H

/* Address that the image is linked at, and copied to from the ROM. */
#define IMAGE_BASE 0x100000
#define IMAGE_SIZE 0x10000
#define ROM_BASE   0xffff0000

/* Page below 1 MiB where the other vCPU starts in real mode. */
#define TRAMPOLINE_BASE 0x8000

#define STACK_SIZE 0x4000

/* Vectors of the hypervisor's interrupts. */
#define VECTOR_TIMER 0x30
#define VECTOR_IPI   0x31

/* Number of vectors that have entry points. */
#define VECTORS 256

#endif
