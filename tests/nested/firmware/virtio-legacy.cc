/*
 * Emulated virtio devices with registers at I/O ports
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "virtio-legacy.h"

#include "pci.h"
#include "program-format.h"

namespace {

constexpr uint16_t VENDOR_ID = 0x1af4;
constexpr uint16_t DEVICE_ID_NET = 0x1000;
constexpr uint16_t DEVICE_ID_BLK = 0x1001;

void place(uint16_t device_id, uint32_t port, uint32_t bar)
{
    uint8_t devfn;

    if (!pci_find(VENDOR_ID, device_id, &devfn)) {
        return;
    }
    pci_write32(devfn, PCI_BASE_ADDRESS_0, port);
    pci_write32(devfn, PCI_BASE_ADDRESS_1, bar);
    pci_write16(devfn, PCI_COMMAND,
                PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

} // namespace

void virtio_legacy_init()
{
    place(DEVICE_ID_BLK, VIRTIO_BLK_PORT, VIRTIO_BLK_BAR_BASE);
    place(DEVICE_ID_NET, VIRTIO_NET_PORT, VIRTIO_NET_BAR_BASE);
}
