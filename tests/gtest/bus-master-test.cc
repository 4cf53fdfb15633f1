/*
 * State of a device's bus mastering after a write to its command register
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gtest/gtest.h>
#include <linux/pci_regs.h>

#include <cstdint>

#include "hw/vfio/bus-master.h"

namespace {

TEST(BusMaster, IsReadFromTheDevice)
{
    for (bool clears : {false, true}) {
        for (uint16_t others : {0, 0x3, 0x547}) {
            const uint16_t off = others & ~PCI_COMMAND_MASTER;
            const uint16_t on = others | PCI_COMMAND_MASTER;

            EXPECT_EQ(vfio_bus_master_after_write(&off, clears),
                      VFIO_BUS_MASTER_OFF);
            EXPECT_EQ(vfio_bus_master_after_write(&on, clears),
                      VFIO_BUS_MASTER_ON);
        }
    }
}

/* A lost device reads as all ones, except for bits that the kernel emulates. */
TEST(BusMaster, IsTheWrittenValueIfTheDeviceIsLost)
{
    const uint16_t gone[] = {0xffff, 0xffff & ~PCI_COMMAND_INTX_DISABLE,
                             0xffff & ~PCI_COMMAND_MEMORY};

    for (const uint16_t &command : gone) {
        EXPECT_EQ(vfio_bus_master_after_write(&command, true),
                  VFIO_BUS_MASTER_OFF);
        EXPECT_EQ(vfio_bus_master_after_write(&command, false),
                  VFIO_BUS_MASTER_UNKNOWN);
    }
    EXPECT_EQ(vfio_bus_master_after_write(nullptr, true), VFIO_BUS_MASTER_OFF);
    EXPECT_EQ(vfio_bus_master_after_write(nullptr, false),
              VFIO_BUS_MASTER_UNKNOWN);
}

} // namespace
