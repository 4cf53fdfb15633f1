/*
 * Setup of the q35 chipset that QEMU's ACPI tables expect from the firmware
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_LOADER_Q35_H
#define TESTS_NESTED_LOADER_Q35_H

#include "memory-map.h"

/* Fails if the machine is not a q35. */
void q35_check();

/*
 * Sets up the chipset, and reserves the addresses of its registers and of the
 * ROM. QEMU generates the ACPI tables when they are first read, with the
 * addresses that are set here.
 */
void q35_init(MemoryMap &map);

#endif
