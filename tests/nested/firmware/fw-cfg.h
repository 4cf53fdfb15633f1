/*
 * QEMU's firmware configuration device (fw_cfg), by port I/O
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_FW_CFG_H
#define TESTS_NESTED_FW_CFG_H

#include <stddef.h>
#include <stdint.h>

/* Returns the number of vCPUs. */
unsigned fw_cfg_cpus();

/*
 * Reads up to @size bytes of the file @name into @to. Returns the size of the
 * file, or -1 if it does not exist.
 */
int64_t fw_cfg_read_file(const char *name, void *to, size_t size);

#endif
