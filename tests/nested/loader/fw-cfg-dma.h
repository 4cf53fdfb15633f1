/*
 * DMA by QEMU's firmware configuration device (fw_cfg)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_LOADER_FW_CFG_DMA_H
#define TESTS_NESTED_LOADER_FW_CFG_DMA_H

#include <stddef.h>
#include <stdint.h>

#include "private-memory.h"

/*
 * Transfers items between the device and private memory, through a window of
 * shared memory.
 */
class FwCfgDma {
public:
    /* Shares the window. Fails if the device has no DMA. */
    FwCfgDma();

    /* Reads the first @size bytes of the item @key to @gpa. */
    void read(uint16_t key, uint64_t gpa, size_t size);

    /* Reads the item @key, which is a number. */
    uint32_t read_number(uint16_t key);

    /* Writes @size bytes, up to 8, at @offset in the item @key. */
    void write(uint16_t key, uint32_t offset, uint64_t value, size_t size);

private:
    void transfer(uint32_t control, size_t size);

    SharedWindow window_;
};

#endif
