/*
 * A virtio-mem device: memory that is there when the guest asks for it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_VIRTIO_MEM_H
#define TESTS_NESTED_VIRTIO_MEM_H

#include <stdint.h>

/*
 * Sets up the device, which must have a region of @size bytes at @base, all of
 * which can be plugged, in blocks of @block bytes. Returns null, or what is
 * wrong.
 */
const char *virtio_mem_init(uint64_t base, uint64_t size, uint64_t block);

/*
 * Requests for the blocks in @size bytes at @gpa, whatever these numbers are,
 * and for all there is. They return what the device answers
 * (VirtioMemResponse), or a negative number if what it has plugged is not what
 * follows from that.
 */
int64_t virtio_mem_plug(uint64_t gpa, uint64_t size);
int64_t virtio_mem_unplug(uint64_t gpa, uint64_t size);
int64_t virtio_mem_unplug_all();

#endif
