/*
 * PCI configuration space of bus 0, by port I/O
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FREESTANDING_PCI_H
#define TESTS_FREESTANDING_PCI_H

#include <stdint.h>

constexpr uint8_t PCI_COMMAND = 0x04;
constexpr uint8_t PCI_BASE_ADDRESS_0 = 0x10;
constexpr uint8_t PCI_BASE_ADDRESS_1 = 0x14;
constexpr uint8_t PCI_CAPABILITIES = 0x34;

constexpr uint16_t PCI_COMMAND_IO = 0x0001;
constexpr uint16_t PCI_COMMAND_MEMORY = 0x0002;
constexpr uint16_t PCI_COMMAND_MASTER = 0x0004;

/*
 * Finds the function with these IDs on bus 0 and stores its device and
 * function number. Returns whether there is one.
 */
bool pci_find(uint16_t vendor, uint16_t device, uint8_t *devfn);

uint32_t pci_read32(uint8_t devfn, uint8_t offset);
void pci_write32(uint8_t devfn, uint8_t offset, uint32_t value);
void pci_write8(uint8_t devfn, uint8_t offset, uint8_t value);
uint16_t pci_read16(uint8_t devfn, uint8_t offset);
void pci_write16(uint8_t devfn, uint8_t offset, uint16_t value);

/*
 * Programs the PAM registers of q35's host bridge, so that all of 0xc0000 to
 * 0xfffff is RAM, or none of it. This changes QEMU's memory map, which divides
 * the RAM below 4 GiB into other pieces.
 */
void pci_set_pam(bool ram);

#endif
