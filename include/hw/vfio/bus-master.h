/*
 * What is known of a PCI device's bus mastering after a write to it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Includers have PCI_COMMAND_MASTER, and in C++ <cstdint>, already.
 */

#ifndef HW_VFIO_BUS_MASTER_H
#define HW_VFIO_BUS_MASTER_H

typedef enum VFIOBusMaster {
    VFIO_BUS_MASTER_UNKNOWN,
    VFIO_BUS_MASTER_OFF,
    VFIO_BUS_MASTER_ON,
} VFIOBusMaster;

/*
 * Bits of the command register that no device has.  One that does not answer
 * reads as all ones, but of the other bits the kernel makes up some.
 */
#define VFIO_COMMAND_RESERVED 0xf800

/*
 * @command is what the device's command register says after the write, or null
 * if it could not be read.  A device that does not answer does no DMA, but
 * where the write leaves it is only known if it @clears_master.
 */
static inline VFIOBusMaster
vfio_bus_master_after_write(const uint16_t *command, bool clears_master)
{
    if (command && !(*command & VFIO_COMMAND_RESERVED)) {
        return *command & PCI_COMMAND_MASTER ? VFIO_BUS_MASTER_ON
                                             : VFIO_BUS_MASTER_OFF;
    }
    return clears_master ? VFIO_BUS_MASTER_OFF : VFIO_BUS_MASTER_UNKNOWN;
}

#endif
