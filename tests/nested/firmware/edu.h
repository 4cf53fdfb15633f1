/*
 * QEMU's edu device: it copies between memory and a buffer of its own
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_EDU_H
#define TESTS_NESTED_EDU_H

#include <stddef.h>
#include <stdint.h>

constexpr size_t EDU_BUFFER_SIZE = 4096;

/*
 * Looks for the device, and places and enables its registers; bus mastering
 * stays off. Returns whether there is a device.
 */
bool edu_init();

/*
 * Sets bus mastering of the device, by a write of @bits (8, 16 or 32). Returns
 * whether the device then says so.
 */
bool edu_set_master(bool on, unsigned bits);

/*
 * The device reads @size bytes of memory at @gpa to the start of its buffer,
 * or tries to: it does not say whether it could. Takes the device 100 ms.
 */
void edu_read_memory(uint64_t gpa, size_t size);

/* The same in the other direction. */
void edu_write_memory(uint64_t gpa, size_t size);

#endif
