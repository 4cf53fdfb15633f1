/*
 * Descriptor tables: values that start code and C++ code share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FREESTANDING_DESCRIPTORS_H
#define TESTS_FREESTANDING_DESCRIPTORS_H

/*
 * Selectors in the GDT, see GDT_ENTRIES in start-macros.S. Linux requires those
 * of 64-bit code and data from its boot loader.
 */
#define SELECTOR_CODE32 0x08
#define SELECTOR_CODE64 0x10
#define SELECTOR_DATA   0x18

/* Distance between the entry points of interrupt vectors, in bytes */
#define STUB_SIZE 16

#endif
