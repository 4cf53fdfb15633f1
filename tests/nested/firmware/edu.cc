/*
 * Driver of QEMU's edu device, which copies between memory and its own buffer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "edu.h"

#include "cpu.h"
#include "pci.h"
#include "program-format.h"

namespace {

constexpr uint16_t VENDOR_ID = 0x1234;
constexpr uint16_t DEVICE_ID = 0x11e8;

constexpr uint64_t REGISTER_SOURCE = 0x80;
constexpr uint64_t REGISTER_DESTINATION = 0x88;
constexpr uint64_t REGISTER_COUNT = 0x90;
constexpr uint64_t REGISTER_COMMAND = 0x98;

constexpr uint64_t COMMAND_RUN = 1 << 0;
constexpr uint64_t COMMAND_TO_MEMORY = 1 << 1;

/* Address of the buffer in the device's own address space */
constexpr uint64_t BUFFER_ADDRESS = 0x40000;

uint8_t edu_devfn;

void write_register(uint64_t offset, uint64_t value)
{
    *at_gpa<volatile uint64_t>(EDU_BAR_BASE + offset) = value;
}

uint64_t read_register(uint64_t offset)
{
    return *at_gpa<volatile uint64_t>(EDU_BAR_BASE + offset);
}

void transfer(uint64_t source, uint64_t destination, size_t size,
              uint64_t command)
{
    write_register(REGISTER_SOURCE, source);
    write_register(REGISTER_DESTINATION, destination);
    write_register(REGISTER_COUNT, size);
    write_register(REGISTER_COMMAND, command | COMMAND_RUN);
    while (read_register(REGISTER_COMMAND) & COMMAND_RUN) {
        relax();
    }
}

} // namespace

bool edu_init()
{
    if (!pci_find(VENDOR_ID, DEVICE_ID, &edu_devfn)) {
        return false;
    }
    pci_write32(edu_devfn, PCI_BASE_ADDRESS_0, EDU_BAR_BASE);
    pci_write16(edu_devfn, PCI_COMMAND, PCI_COMMAND_MEMORY);
    return true;
}

bool edu_set_master(bool on, unsigned bits)
{
    const uint16_t command = PCI_COMMAND_MEMORY | (on ? PCI_COMMAND_MASTER : 0);

    if (bits == 8) {
        pci_write8(edu_devfn, PCI_COMMAND, command);
    } else if (bits == 16) {
        pci_write16(edu_devfn, PCI_COMMAND, command);
    } else {
        /* The upper half is the status register: zeroes do not change it. */
        pci_write32(edu_devfn, PCI_COMMAND, command);
    }
    return !(pci_read16(edu_devfn, PCI_COMMAND) & PCI_COMMAND_MASTER) == !on;
}

void edu_read_memory(uint64_t gpa, size_t size)
{
    transfer(gpa, BUFFER_ADDRESS, size, 0);
}

void edu_write_memory(uint64_t gpa, size_t size)
{
    transfer(BUFFER_ADDRESS, gpa, size, COMMAND_TO_MEMORY);
}
