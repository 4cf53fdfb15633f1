/*
 * QEMU's firmware configuration device (fw_cfg), by port I/O
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FREESTANDING_FW_CFG_H
#define TESTS_FREESTANDING_FW_CFG_H

#include <stddef.h>
#include <stdint.h>

/* Item of the device: all files, and some items without a name */
struct FwCfgItem {
    uint16_t key;
    uint32_t size;
};

/*
 * Reads the directory of the files. Returns false if there is no such device,
 * or if it has more files than expected.
 */
bool fw_cfg_init();

/* Finds the file @name. Returns whether it exists. */
bool fw_cfg_find(const char *name, FwCfgItem *file);

/* Reads the first @size bytes of an item into @to, one by one. */
void fw_cfg_read(uint16_t key, void *to, size_t size);

/* Returns the number of vCPUs. */
unsigned fw_cfg_cpus();

#endif
