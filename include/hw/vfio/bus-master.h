/*
 * The state of a PCI device's bus mastering after a write to it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Includers must have defined PCI_COMMAND_MASTER, and in C++ <cstdint>.
 */

#ifndef HW_VFIO_BUS_MASTER_H
#define HW_VFIO_BUS_MASTER_H

typedef enum VFIOBusMaster {
    VFIO_BUS_MASTER_UNKNOWN,
    VFIO_BUS_MASTER_OFF,
    VFIO_BUS_MASTER_ON,
} VFIOBusMaster;

/*
 * Bits of the command register that no device has.  A device that does not
 * answer reads as all ones, but the kernel emulates some of the other bits.
 */
#define VFIO_COMMAND_RESERVED 0xf800

/*
 * Return the state after a write.  @command is the device's command register
 * after the write, or null if it could not be read.  The state of a device that
 * does not answer is only known if the write @clears_master.
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
