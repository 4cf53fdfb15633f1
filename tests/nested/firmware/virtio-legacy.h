/*
 * Emulated virtio devices with registers at I/O ports
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_VIRTIO_LEGACY_H
#define TESTS_NESTED_VIRTIO_LEGACY_H

/*
 * Places and enables the ports and registers of those that there are. What is
 * written there is up to the program.
 */
void virtio_legacy_init();

#endif
