/*
 * Emulated virtio devices with registers at I/O ports
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_VIRTIO_LEGACY_H
#define TESTS_NESTED_VIRTIO_LEGACY_H

/*
 * Assigns addresses to the ports and registers of the virtio-blk and virtio-net
 * devices, if present, and enables them. There is no driver: programs access
 * the registers themselves.
 */
void virtio_legacy_init();

#endif
