/*
 * DMA of the edu device, and a check of what became of it
 *
 * The device has a buffer of a page that is only seen through DMA. Whatever
 * goes in or out passes a scratch page, which has to be shared memory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_DEVICE_CHECK_H
#define TESTS_NESTED_DEVICE_CHECK_H

#include <stddef.h>
#include <stdint.h>

/* Makes the page at @gpa the scratch page. */
void device_set_scratch(uint64_t gpa);

/*
 * Sets bus mastering, by a write of @bits. While it is off, no DMA can be
 * checked that arrives. Returns null, or what is not as expected.
 */
const char *device_set_master(bool on, unsigned bits);

/*
 * The device writes @size bytes of the DMA pattern of @seed to @gpa. If this
 * is @blocked, memory must stay as it is, or else hold the pattern. Returns
 * null if all is as expected, or what is not.
 */
const char *device_check_write(uint64_t gpa, size_t size, uint64_t seed,
                               bool blocked);

/*
 * The device reads @size bytes at @gpa, where memory has the pattern of @seed
 * or, if @zero, zeroes. If this is @blocked, the device must get none of it,
 * or else all of it. Returns null if all is as expected, or what is not.
 */
const char *device_check_read(uint64_t gpa, size_t size, uint64_t seed,
                              bool zero, bool blocked);

#endif
