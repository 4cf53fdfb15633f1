# SPDX-License-Identifier: GPL-2.0-or-later

"""Access PCI configuration space while the guest does not run.

QEMU's monitor uses the I/O ports that the guest would use.
"""

from harness.l2 import L2Machine

CONFIG_ADDRESS = 0xcf8
CONFIG_DATA = 0xcfc
COMMAND = 0x04
COMMAND_MEMORY = 2
COMMAND_MASTER = 4
BASE_ADDRESS = 0x10
PRIMARY_BUS = 0x18


class PciBus:
    """Accesses PCI configuration space with QEMU's monitor."""

    def __init__(self, l2: L2Machine) -> None:
        self._l2 = l2

    def _select(self, bus: int, devfn: int, offset: int) -> None:
        address = 1 << 31 | bus << 16 | devfn << 8 | offset & ~3
        self._l2.hmp(f'o/4 {CONFIG_ADDRESS:#x} {address:#x}')

    def write(self, bus: int, devfn: int, offset: int, size: int,
              value: int) -> str:
        """Write @size bytes. Returns QEMU's output, which is usually empty."""
        self._select(bus, devfn, offset)
        return self._l2.hmp(f'o/{size} {CONFIG_DATA + offset % 4:#x} '
                            f'{value:#x}')

    def read_16(self, bus: int, devfn: int, offset: int) -> int:
        """Read two bytes."""
        self._select(bus, devfn, offset)
        # Output: portw[0x0cfc] = 0x0000
        answer = self._l2.hmp(f'i/2 {CONFIG_DATA + offset % 4:#x}')
        return int(answer.split('=')[1], 16)
