/*
 * QEMU's firmware configuration device, by port I/O
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_FW_CFG_H
#define TESTS_NESTED_FW_CFG_H

#include <stddef.h>
#include <stdint.h>

/* Number of vCPUs of this machine. */
unsigned fw_cfg_cpus();

/*
 * Reads the file @name, but no more than @size bytes. Returns the size the
 * file really has, or -1 if there is none of this name.
 */
int64_t fw_cfg_read_file(const char *name, void *to, size_t size);

#endif
