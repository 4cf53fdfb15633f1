/*
 * Setup of the q35 chipset that QEMU's ACPI tables expect from the firmware
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "q35.h"

#include "message.h"
#include "pci.h"
#include "x86.h"

namespace {

/* Memory controller (MCH), device 0 function 0 */
constexpr uint8_t MCH = 0x00;
constexpr uint32_t MCH_IDS = 0x29c08086;
constexpr uint8_t MCH_PCIEXBAR = 0x60;
constexpr uint32_t PCIEXBAR_ENABLE_256M = 1;

/* Bridge to the ISA bus (ICH9), device 31 function 0 */
constexpr uint8_t LPC = 0xf8;
constexpr uint32_t LPC_IDS = 0x29188086;
constexpr uint8_t LPC_PMBASE = 0x40;
constexpr uint8_t LPC_ACPI_CONTROL = 0x44;
constexpr uint8_t LPC_PIRQA_TO_D = 0x60;
constexpr uint8_t LPC_PIRQE_TO_H = 0x68;
constexpr uint8_t LPC_RCBA = 0xf0;
/* The registers at PMBASE respond; the SCI is interrupt 9. */
constexpr uint8_t ACPI_CONTROL_ENABLE = 0x80;
constexpr uint32_t RCBA_ENABLE = 1;

/* PCI configuration space in memory (MMCONFIG) */
constexpr uint64_t MMCONFIG_BASE = 0xb0000000;
constexpr uint64_t MMCONFIG_SIZE = 0x10000000;
/* Power management registers, at I/O ports */
constexpr uint32_t PM_BASE = 0x600;
/* Chipset configuration registers */
constexpr uint64_t RCBA_BASE = 0xfed1c000;
constexpr uint64_t RCBA_SIZE = 0x4000;

constexpr uint64_t ROM_BASE = 0xffff0000;
constexpr uint64_t ROM_END = 0x100000000;

/*
 * ISA interrupts of the PCI interrupts A to D, one in each byte, which E to H
 * share. Linux only uses them without an I/O APIC.
 */
constexpr uint32_t PIRQ_ROUTES = 0x0b0b0a0a;
/* Trigger mode of interrupts 8 to 15; PCI interrupts are level-triggered. */
constexpr uint16_t PORT_ELCR2 = 0x4d1;
constexpr uint8_t ELCR2_LEVEL_10_11 = 0x0c;

constexpr uint8_t PCI_IDS = 0x00;

} // namespace

void q35_check()
{
    if (pci_read32(MCH, PCI_IDS) != MCH_IDS ||
        pci_read32(LPC, PCI_IDS) != LPC_IDS) {
        fail("this is not a q35: start QEMU with -machine q35");
    }
}

void q35_init(MemoryMap &map)
{
    pci_write32(MCH, MCH_PCIEXBAR + 4, MMCONFIG_BASE >> 32);
    pci_write32(MCH, MCH_PCIEXBAR,
                (uint32_t)MMCONFIG_BASE | PCIEXBAR_ENABLE_256M);
    map.reserve(MMCONFIG_BASE, MMCONFIG_BASE + MMCONFIG_SIZE, E820_RESERVED);

    pci_write32(LPC, LPC_PMBASE, PM_BASE);
    pci_write8(LPC, LPC_ACPI_CONTROL, ACPI_CONTROL_ENABLE);
    pci_write32(LPC, LPC_RCBA, (uint32_t)RCBA_BASE | RCBA_ENABLE);
    map.reserve(RCBA_BASE, RCBA_BASE + RCBA_SIZE, E820_RESERVED);

    pci_write32(LPC, LPC_PIRQA_TO_D, PIRQ_ROUTES);
    pci_write32(LPC, LPC_PIRQE_TO_H, PIRQ_ROUTES);
    out8(PORT_ELCR2, ELCR2_LEVEL_10_11);

    map.reserve(ROM_BASE, ROM_END, E820_RESERVED);
}
