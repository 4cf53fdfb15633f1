# SPDX-License-Identifier: GPL-2.0-or-later

"""Set up VFIO in the level 1 machine, and bind devices to vfio-pci."""

import re

from harness.l1 import L1Error, L1Machine

# Vendor and device of the edu device
_EDU = '0x1234 0x11e8'

# More entries than a QEMU needs that maps each page separately
ENOUGH_ENTRIES = 1000000

_ADDRESS = re.compile(r'[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]')


def set_entry_limit(l1: L1Machine, limit: int) -> None:
    """Set the number of mappings that each type1 container can have."""
    l1.check(f'echo {limit} >/sys/module/vfio_iommu_type1/parameters/'
             'dma_entry_limit')


def bind_devices(l1: L1Machine, identity: str, count: int) -> list[str]:
    """Bind all devices with this vendor and device. Returns their addresses.

    @count: the expected number of devices
    """
    bdfs = l1.check(
        'for d in /sys/bus/pci/devices/*; do '
        f'if [ "$(cat $d/vendor) $(cat $d/device)" = "{identity}" ]; '
        'then if [ -e $d/driver ]; then echo ${d##*/} >$d/driver/unbind; fi; '
        'echo vfio-pci >$d/driver_override; '
        'echo ${d##*/} >/sys/bus/pci/drivers_probe; '
        '[ -e $d/driver ] || exit 1; echo ${d##*/}; '
        'fi; done').split()
    if len(bdfs) != count or not all(map(_ADDRESS.fullmatch, bdfs)):
        raise L1Error(f'expected {count} devices {identity}, found: {bdfs}')
    return bdfs


def create_functions(l1: L1Machine, identity: str) -> None:
    """Create a virtual function of each network card @identity.

    The card is up, because its driver serves the virtual function.
    """
    l1.check(
        'for d in /sys/bus/pci/devices/*; do '
        f'if [ "$(cat $d/vendor) $(cat $d/device)" = "{identity}" ]; '
        'then ifconfig $(ls $d/net) up && echo 0 >$d/sriov_drivers_autoprobe '
        '&& echo 1 >$d/sriov_numvfs || exit 1; fi; done')


def bind_edus(l1: L1Machine, count: int) -> list[str]:
    """Bind the edu devices to vfio-pci. Returns their addresses."""
    return bind_devices(l1, _EDU, count)


def bind_edu(l1: L1Machine) -> str:
    """Bind the edu device to vfio-pci. Returns its address."""
    return bind_edus(l1, 1)[0]
