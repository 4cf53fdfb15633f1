/*
 * Fakes of the functions with which VFIO accesses a device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * They exist since QEMU 10.1.  Earlier versions access the device's file.
 */

#ifndef TESTS_UNIT_FAKES_VFIO_IO_H
#define TESTS_UNIT_FAKES_VFIO_IO_H

#include "hw/vfio/vfio-dma-compat.h"

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0

static inline void fake_vfio_set_io(VFIODevice *vbasedev)
{
}

#else

static int fake_region_read(VFIODevice *vbasedev, uint8_t index, off_t offset,
                            uint32_t size, void *data)
{
    return pread(vbasedev->fd, data, size, offset);
}

static int fake_region_write(VFIODevice *vbasedev, uint8_t index, off_t offset,
                             uint32_t size, void *data, bool post)
{
    return pwrite(vbasedev->fd, data, size, offset);
}

static inline void fake_vfio_set_io(VFIODevice *vbasedev)
{
    static VFIODeviceIOOps ops = {
        .region_read = fake_region_read,
        .region_write = fake_region_write,
    };

    vbasedev->io_ops = &ops;
}

#endif

#endif
