/*
 * Driver of a virtio-mem device, which plugs memory when the guest asks for it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_VIRTIO_MEM_H
#define TESTS_NESTED_VIRTIO_MEM_H

#include <stdint.h>

#include "program-format.h"

/*
 * Sets up the device. It must have the region and the block size in @header,
 * and allow all of the region to be plugged. Returns null on success, or the
 * error.
 */
const char *virtio_mem_init(const ProgramHeader &header);

/*
 * Plug or unplug the @size bytes at @gpa, or unplug everything. The arguments
 * are not validated. Return the response of the device (VirtioMemResponse), or
 * a negative number if its plugged size does not match the response.
 */
int64_t virtio_mem_plug(uint64_t gpa, uint64_t size);
int64_t virtio_mem_unplug(uint64_t gpa, uint64_t size);
int64_t virtio_mem_unplug_all();

#endif
