/*
 * Driver of QEMU's edu device, which copies between memory and its own buffer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_EDU_H
#define TESTS_NESTED_EDU_H

#include <stddef.h>
#include <stdint.h>

constexpr size_t EDU_BUFFER_SIZE = 4096;

/*
 * Finds the device, assigns an address to its registers and enables them; bus
 * mastering stays off. Returns whether there is a device.
 */
bool edu_init();

/*
 * Sets bus mastering by a write of @bits (8, 16 or 32) bits. Returns whether
 * the bit reads back as written.
 */
bool edu_set_master(bool on, unsigned bits);

/*
 * Makes the device read @size bytes at @gpa into the start of its buffer. The
 * device does not report errors. It takes 100 ms.
 */
void edu_read_memory(uint64_t gpa, size_t size);

/*
 * Makes the device write @size bytes from the start of its buffer to @gpa. The
 * device does not report errors. It takes 100 ms.
 */
void edu_write_memory(uint64_t gpa, size_t size);

#endif
