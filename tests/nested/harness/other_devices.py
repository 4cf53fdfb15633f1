# SPDX-License-Identifier: GPL-2.0-or-later

"""Devices of guests that are not PCI devices of the host.

All have the registers of QEMU's edu device, so that the firmware drives them
like an assigned one.
"""

import json
from pathlib import Path

from harness.guest_options import FIRST_DEVICE
from harness.intervals import IntervalSet
from harness.l1 import L1Machine
from harness.l2 import wait_until

_SERVER_PATH = '/bin/vfio-user-edu'
_SOCKET = '/run/vfio-user'
_MAPS = '/run/vfio-user-maps'
_START_TIMEOUT = 10.0

_MDEV_PARENT = '/sys/class/mdev_bus/mdev-dma/mdev_supported_types'
_MDEV_UUID = '6d646576-0000-4000-8000-000000000001'
_MDEV_PATH = f'/sys/bus/mdev/devices/{_MDEV_UUID}'


class MediatedDevice:
    """A mediated device of level 1's kernel, see mdev-dma/."""

    def __init__(self, l1: L1Machine, kind: str) -> None:
        """@kind: "copy" or "pin", how it accesses memory"""
        self._l1 = l1
        # The prefix of the name is that of the parent's driver
        l1.check(f'echo {_MDEV_UUID} >$(echo {_MDEV_PARENT}/*-{kind})/create')

    def options(self, iommufd: bool) -> list[str]:
        """Return options of QEMU."""
        device = f'vfio-pci,id={FIRST_DEVICE},sysfsdev={_MDEV_PATH}'
        if not iommufd:
            return ['-device', device]
        return ['-object', 'iommufd,id=iommufd0',
                '-device', f'{device},iommufd=iommufd0']

    def counter(self, name: str) -> int:
        """Return a counter of the device: "failures", "pinned", "unmaps"."""
        return int(self._l1.check(f'cat {_MDEV_PATH}/{name}'))

    def remove(self) -> None:
        self._l1.check(f'echo 1 >{_MDEV_PATH}/remove')


class VfioUserDevice:
    """A process that serves a device, see vfio-user-edu/."""

    def __init__(self, l1: L1Machine) -> None:
        self._l1 = l1
        l1.check(f'{_SERVER_PATH} {_SOCKET} {_MAPS} >/dev/null 2>&1 '
                 '</dev/null & echo $! >/run/vfio-user-pid')
        wait_until(lambda: l1.run(f'[ -S {_SOCKET} ]')[0] == 0,
                   _START_TIMEOUT)

    @staticmethod
    def files(build: Path) -> dict[str, bytes]:
        """Return the files that level 1 needs."""
        path = build / 'core/tests/nested/vfio-user-edu/vfio-user-edu'
        return {_SERVER_PATH: path.read_bytes()}

    @staticmethod
    def options() -> list[str]:
        """Return options of QEMU."""
        return ['-device', json.dumps({
            'driver': 'vfio-user-pci', 'id': FIRST_DEVICE,
            'socket': {'type': 'unix', 'path': _SOCKET}})]

    def maps(self) -> IntervalSet:
        """Return the memory that the process may access."""
        lines = self._l1.check(f'cat {_MAPS}').splitlines()
        return IntervalSet(
            (int(start, 16), int(end, 16)) for start, end
            in (line.split() for line in lines))

    def is_running(self) -> bool:
        return self._l1.run('kill -0 $(cat /run/vfio-user-pid)')[0] == 0
