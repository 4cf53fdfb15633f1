/*
 * Bus mastering of VFIO devices: writes to their config space
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/range.h"
#include "hw/pci/pci.h"
#include "hw/vfio/bus-master.h"
#include "system/report-limit.h"
#include "vfio-dma-internal.h"

/* Let a device become bus master.  Reports failure and returns false. */
static bool vfio_dma_layout_let_master(VFIODmaLayout *vdl,
                                       VFIODevice *vbasedev)
{
    const int err = -vfio_dma_layout_start(vdl, vbasedev);

    if (!err) {
        return true;
    }
    error_report_limited("vfio: %s cannot become bus master, mapping the"
                         " guest's memory failed: %s%s", vbasedev->name,
                         strerror(err),
                         vfio_dma_layout_hint(vdl->bcontainer, err));
    return false;
}

static int vfio_dma_layout_write(VFIOPCIDevice *vdev, uint32_t addr,
                                 uint32_t val, int len)
{
    uint32_t val_le = cpu_to_le32(val);

    return vfio_dma_write_config(vdev, addr, &val_le, len);
}

/*
 * Read back the command register after a write.  The write may not have had the
 * intended effect, and a device that leaves D3hot can restore the register's
 * previous value.  If the device does not answer, because it was removed or has
 * no power, assume that the write took effect.
 */
static void vfio_dma_layout_follow(VFIODmaLayout *vdl, VFIOPCIDevice *vdev,
                                   bool clears_master)
{
    VFIODevice *vbasedev = &vdev->vbasedev;
    uint16_t command;
    const bool is_read =
        vfio_dma_read_config(vdev, PCI_COMMAND, &command,
                             sizeof(command)) == sizeof(command);

    command = is_read ? le16_to_cpu(command) : 0;
    switch (vfio_bus_master_after_write(is_read ? &command : NULL,
                                        clears_master)) {
    case VFIO_BUS_MASTER_UNKNOWN:
        break;
    case VFIO_BUS_MASTER_OFF:
        vfio_dma_layout_stop(vdl, vbasedev);
        break;
    case VFIO_BUS_MASTER_ON:
        if (!g_hash_table_contains(vdl->masters, vbasedev) &&
            !vfio_dma_layout_let_master(vdl, vbasedev)) {
            vfio_dma_layout_write(vdev, PCI_COMMAND,
                                  command & ~PCI_COMMAND_MASTER, 2);
        }
        break;
    }
}

int vfio_dma_layout_write_config(VFIOPCIDevice *vdev, uint32_t addr,
                                 uint32_t *val, int len)
{
    VFIODevice *vbasedev = &vdev->vbasedev;
    VFIODmaLayout *vdl = vbasedev->bcontainer->dma_layout;
    const uint8_t pm_cap = vfio_dma_pci_device(vdev)->pm_cap;
    const bool is_gated = vfio_dma_layout_is_gated(vbasedev);
    const bool is_command =
        is_gated && range_covers_byte(addr, len, PCI_COMMAND);
    const bool is_power = is_gated && pm_cap &&
                          range_covers_byte(addr, len, pm_cap + PCI_PM_CTRL);
    const uint32_t master =
        is_command ? PCI_COMMAND_MASTER << 8 * (PCI_COMMAND - addr) : 0;
    bool clears_master;
    int ret;

    if ((*val & master) && !vfio_dma_layout_let_master(vdl, vbasedev)) {
        *val &= ~master;
    }
    clears_master = is_command && !(*val & master);
    ret = vfio_dma_layout_write(vdev, addr, *val, len);
    if (clears_master || is_power) {
        const int saved_errno = errno;

        vfio_dma_layout_follow(vdl, vdev, clears_master);
        errno = saved_errno;
    }
    return ret;
}
