/*
 * DMA by the edu device, with a check of its effect
 *
 * The device has a buffer of one page that is accessible only by DMA. The
 * firmware loads and reads it through a scratch page, which must be shared.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_DEVICE_CHECK_H
#define TESTS_NESTED_DEVICE_CHECK_H

#include <stddef.h>
#include <stdint.h>

/* Uses the page at @gpa as the scratch page. */
void device_set_scratch(uint64_t gpa);

/*
 * Sets bus mastering by a write of @bits bits. While it is off, only blocked
 * DMA can be checked. Returns null on success, or the error.
 */
const char *device_set_master(bool on, unsigned bits);

/*
 * Makes the device write @size bytes of the DMA pattern of @seed to @gpa. If
 * @blocked, memory must not change; otherwise it must hold the pattern
 * afterwards. Returns null on success, or the error.
 */
const char *device_check_write(uint64_t gpa, size_t size, uint64_t seed,
                               bool blocked);

/*
 * Makes the device read @size bytes at @gpa, where memory holds the pattern of
 * @seed or, if @zero, zeroes. If @blocked, the device must receive none of it;
 * otherwise all of it. Returns null on success, or the error.
 */
const char *device_check_read(uint64_t gpa, size_t size, uint64_t seed,
                              bool zero, bool blocked);

#endif
