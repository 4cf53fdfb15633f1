/*
 * The kernel and its initrd, loaded by the Linux/x86 boot protocol
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_LOADER_LINUX_IMAGE_H
#define TESTS_NESTED_LOADER_LINUX_IMAGE_H

#include <stdint.h>

#include "fw-cfg-dma.h"
#include "memory-map.h"

/*
 * Loads the kernel, the initrd and the command line, and sets the parameters
 * except for the memory map. @rsdp is the address of the ACPI tables. Returns
 * the address of the kernel. Fails if QEMU has no kernel, or one that this
 * loader does not support.
 */
uint64_t linux_load(FwCfgDma &dma, MemoryMap &map, uint64_t rsdp);

/* Starts the kernel at @kernel with the memory map @map. */
[[noreturn]] void linux_start(uint64_t kernel, const MemoryMap &map);

#endif
