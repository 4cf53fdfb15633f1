/*
 * ACPI tables that QEMU generates, and the commands that assemble them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_LOADER_ACPI_TABLES_H
#define TESTS_NESTED_LOADER_ACPI_TABLES_H

#include <stdint.h>

#include "fw-cfg-dma.h"
#include "memory-map.h"

/*
 * Loads the tables into RAM, which is reserved for them. Returns the address of
 * the root pointer (RSDP). Fails if a command is invalid.
 */
uint64_t acpi_load_tables(FwCfgDma &dma, MemoryMap &map);

#endif
