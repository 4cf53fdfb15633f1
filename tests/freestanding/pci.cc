/*
 * PCI configuration space of bus 0, by port I/O
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "pci.h"

#include "x86.h"

namespace {

constexpr uint16_t PORT_ADDRESS = 0xcf8;
constexpr uint16_t PORT_DATA = 0xcfc;
constexpr uint32_t ADDRESS_ENABLE = 0x80000000;
constexpr unsigned FUNCTIONS_ON_BUS = 256;
constexpr uint8_t PCI_VENDOR_ID = 0x00;

constexpr uint8_t HOST_BRIDGE = 0;
constexpr uint8_t PAM0 = 0x90;
constexpr uint8_t PAM4 = 0x94;
constexpr uint8_t PAM6 = 0x96;

void set_address(uint8_t devfn, uint8_t offset)
{
    out32(PORT_ADDRESS, ADDRESS_ENABLE | (uint32_t)devfn << 8 | (offset & ~3u));
}

} // namespace

uint32_t pci_read32(uint8_t devfn, uint8_t offset)
{
    set_address(devfn, offset);
    return in32(PORT_DATA);
}

void pci_write32(uint8_t devfn, uint8_t offset, uint32_t value)
{
    set_address(devfn, offset);
    out32(PORT_DATA, value);
}

uint16_t pci_read16(uint8_t devfn, uint8_t offset)
{
    return pci_read32(devfn, offset) >> (offset & 2) * 8;
}

void pci_write16(uint8_t devfn, uint8_t offset, uint16_t value)
{
    set_address(devfn, offset);
    out16(PORT_DATA + (offset & 2), value);
}

void pci_write8(uint8_t devfn, uint8_t offset, uint8_t value)
{
    set_address(devfn, offset);
    out8(PORT_DATA + (offset & 3), value);
}

bool pci_find(uint16_t vendor, uint16_t device, uint8_t *devfn)
{
    const uint32_t ids = (uint32_t)device << 16 | vendor;

    for (unsigned i = 0; i < FUNCTIONS_ON_BUS; i++) {
        if (pci_read32(i, PCI_VENDOR_ID) == ids) {
            *devfn = i;
            return true;
        }
    }
    return false;
}

void pci_set_pam(bool ram)
{
    /* Each byte has two 4-bit fields; the first has only the upper one. */
    pci_write32(HOST_BRIDGE, PAM0, ram ? 0x33333330 : 0);
    pci_write16(HOST_BRIDGE, PAM4, ram ? 0x3333 : 0);
    pci_write16(HOST_BRIDGE, PAM6, ram ? 0x0033 : 0);
}
