# SPDX-License-Identifier: GPL-2.0-or-later

"""Mappings follow the hotplug and the bus mastering of assigned devices.

The guest does not run. QEMU's monitor writes to PCI configuration space and
ejects devices instead of the guest.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from harness.checks import Checks
from harness.guest_options import (FIRMWARE_PATH, PROGRAM_PATH,
                                   program_guest)
from harness.initramfs import find_tool
from harness.l1 import EDU, L1Machine
from harness.l2 import PID_PATH, L2Machine
from harness.pci import (BASE_ADDRESS, COMMAND, COMMAND_MASTER, COMMAND_MEMORY,
                         PRIMARY_BUS, PciBus)
from harness.program import ESB_SLOT, GIB, MIB, PAGE_SIZE, Machine
from harness.session import (Built, Machines, check_complaints, check_quit,
                             running)
from harness.vfio import bind_edus

_MEMORY = 512 * MIB

# Size of the memory that is shared before the guest runs
_ROM_SIZE = 64 << 10
# A smaller size
_SHORT = 32 << 10

# Root ports, each with its own bus and one device
_PORT_SLOTS = (4, 5)

_DISPLAY_SLOT = 0x12

# Offsets in the firmware for something that is less than a page
_ROM_OFFSETS = (0x8000, 0x87f0, 0x8ff0, _ROM_SIZE - 0x1000)

# A root port for one device of the level 1 machine, whose bus number can be
# changed so that the device does not respond, and the register of this number
_BRIDGED = ('-device', 'pcie-root-port,id=bridge,chassis=9',
            '-device', f'{EDU},bus=bridge')
_SECONDARY_BUS = 0x19
_NO_BUS = 0xfe


class Guest:
    """A guest that does not run, with two root ports for devices."""

    def __init__(self, l1: L1Machine, l2: L2Machine, bdfs: list[str],
                 backend: str, checks: Checks) -> None:
        self.l1 = l1
        self.bdfs = bdfs
        self._l2 = l2
        self._pci = PciBus(l2)
        self._backend = backend
        self._checks = checks

    def connect(self, built: Built) -> None:
        """Connect to the monitor, and number the buses."""
        self._l2.connect(built.qemu_python)
        for port, slot in enumerate(_PORT_SLOTS):
            self._pci.write(0, slot << 3, PRIMARY_BUS, 4,
                            (port + 1) << 8 | (port + 1) << 16)

    def check(self, good: bool, text: str, details: str) -> None:
        self._checks.check(good, f'{self._backend}: {text}', details)

    def plug(self, device: int) -> None:
        arguments = {'driver': 'vfio-pci', 'id': f'edu{device}',
                     'bus': f'port{device}', 'host': self.bdfs[device]}
        if self._backend == 'iommufd':
            arguments['iommufd'] = 'iommufd0'
        self._l2.execute('device_add', arguments)

    def unplug(self, device: int) -> None:
        self._l2.unplug(f'edu{device}', len(_PORT_SLOTS) - 1 - device)

    def master(self, device: int, master: bool, size: int = 2) -> str:
        """Switch bus mastering by a write of @size bytes.

        Returns QEMU's output, which is usually empty.
        """
        return self._pci.write(device + 1, 0, COMMAND, size,
                               COMMAND_MASTER if master else 0)

    def is_master(self, device: int) -> bool:
        """Return the bus master bit of the device itself."""
        return bool(self._pci.read_16(device + 1, 0, COMMAND) &
                    COMMAND_MASTER)

    def reset(self) -> None:
        """Reset the machine, and number the buses again."""
        self._l2.execute('system_reset')
        self._l2.wait_event('RESET')

    def place_registers(self, offset: int) -> None:
        """Put the watchdog's 16 bytes of registers into the firmware."""
        devfn = ESB_SLOT << 3
        self._pci.write(0, devfn, BASE_ADDRESS, 4,
                        4 * GIB - _ROM_SIZE + offset)
        self._pci.write(0, devfn, COMMAND, 2, COMMAND_MEMORY)

    def remove_registers(self) -> None:
        self._pci.write(0, ESB_SLOT << 3, COMMAND, 2, 0)

    def show_display(self) -> str:
        """Enable a display's memory, which is not the guest's."""
        devfn = _DISPLAY_SLOT << 3
        self._pci.write(0, devfn, BASE_ADDRESS, 4, 0xe2000000)
        return self._pci.write(0, devfn, COMMAND, 2, COMMAND_MEMORY)

    def hide_display(self) -> None:
        self._pci.write(0, _DISPLAY_SLOT << 3, COMMAND, 2, 0)

    def expect(self, when: str, is_open: bool, mapped: bool,
               size: int = _ROM_SIZE) -> None:
        """Check the layout of the container."""
        layout = self._l2.layout()
        self.check(
            layout is not None and layout.open == is_open and
            layout.missing_size == 0 and
            layout.populated_size == size and
            layout.mapped_size == (size if mapped else 0),
            f'{when}: the gate is {"open" if is_open else "closed"}, shared '
            f'memory is {"" if mapped else "not "}mapped', str(layout))

    def expect_no_container(self, when: str) -> None:
        names = [entry['name'] for entry in
                 self._l2.execute('qom-list', {'path': '/machine'})]
        self.check(not any(name.startswith('vfio-container')
                           for name in names) and not self._l2.layouts(),
                   f'{when}: there is no container', ', '.join(names))


@contextmanager
def hotplug_guest(machines: Machines, backend: str, checks: Checks,
                  is_short: bool = False) -> Iterator[Guest]:
    """Start a guest that does not run, and end it.

    @is_short: whether the limit of locked memory is below the shared memory
    """
    l1 = machines.start({
        FIRMWARE_PATH: machines.built.firmware.read_bytes(),
        PROGRAM_PATH: b'', **find_tool('setpriv', 'util-linux'),
        **find_tool('prlimit', 'util-linux')},
        devices=len(_PORT_SLOTS) - 1, options=_BRIDGED)
    bdfs = bind_edus(l1, len(_PORT_SLOTS))
    l2 = L2Machine(l1, program_guest(Machine(memory=_MEMORY), None, 'none'))
    l2.add_options('-S', '-object', 'iommufd,id=iommufd0')
    for port, slot in enumerate(_PORT_SLOTS):
        l2.add_options('-device', f'pcie-root-port,id=port{port},'
                       f'addr={slot:#x},chassis={port + 1}')
    l2.add_options('-device', f'i6300esb,addr={ESB_SLOT:#x}', '-device',
                   f'bochs-display,addr={_DISPLAY_SLOT:#x},romfile=')
    if is_short:
        l2.limit_locked_memory(_SHORT)
    with running(l2, checks, backend):
        guest = Guest(l1, l2, bdfs, backend, checks)
        guest.connect(machines.built)
        yield guest
        check_quit(l2, checks, f'{backend}: ')
    check_complaints(l1, checks, f'{backend}: ')
    l1.power_off()


def test_come_and_go(machines: Machines, backend: str, checks: Checks
                     ) -> None:
    with hotplug_guest(machines, backend, checks) as guest:
        guest.expect_no_container('without devices')
        guest.plug(0)
        guest.expect('a device that may do no DMA', False, False)
        for size in (1, 2, 4):
            guest.master(0, True, size)
            guest.expect(f'it may, by a write of {size} bytes', True, True)
            guest.master(0, False, size)
            guest.expect(f'it may not, by a write of {size} bytes', False,
                         True)

        guest.master(0, True)
        guest.plug(1)
        guest.expect('there is a second one, that may not', True, True)
        guest.master(1, True)
        guest.master(0, False)
        guest.expect('only the second one may', True, True)
        guest.unplug(1)
        guest.expect('it is gone', False, True)
        guest.master(0, True)
        guest.expect('the first one may again', True, True)
        guest.plug(1)
        guest.unplug(1)
        guest.expect('the second one came and went', True, True)
        guest.unplug(0)
        guest.expect_no_container('the last one left while it might do DMA')

        guest.plug(1)
        guest.expect('there is a new container', False, False)
        guest.master(1, True)
        guest.expect('its device may do DMA', True, True)
        guest.reset()
        guest.expect('after a reset', False, False)


def test_less_than_a_page(machines: Machines, backend: str, checks: Checks
                          ) -> None:
    """Device registers are in a page of the firmware, which is not mapped."""
    rest = _ROM_SIZE - PAGE_SIZE
    with hotplug_guest(machines, backend, checks) as guest:
        for offset in _ROM_OFFSETS:
            where = f'registers at {offset:#x}'
            guest.place_registers(offset)
            guest.plug(0)
            guest.expect(f'{where}, then a device', False, False, rest)
            guest.master(0, True)
            guest.expect(f'{where}, it may do DMA', True, True, rest)
            guest.remove_registers()
            guest.expect(f'{where} no more', True, True)
            guest.place_registers(offset)
            guest.expect(f'{where} again', True, True, rest)
            guest.plug(1)
            guest.unplug(0)
            guest.expect(f'{where}, another device', False, True, rest)
            guest.unplug(1)
            guest.expect_no_container(f'{where}, without devices')
            guest.remove_registers()


def test_lost_bus(machines: Machines, backend: str, checks: Checks) -> None:
    """A device that does not respond reads as all ones: as a bus master."""
    # The one of the two devices that is on its own bus
    device = 1

    def set_bus(guest: Guest, number: int) -> None:
        config = '$(dirname $(readlink -f /sys/bus/pci/devices/' \
                 f'{guest.bdfs[device]}))/config'
        guest.l1.check(
            f"printf '\\{number:o}\\{number:o}' | dd of={config} bs=1 "
            f'seek={_SECONDARY_BUS} conv=notrunc 2>/dev/null')

    with hotplug_guest(machines, backend, checks) as guest:
        guest.plug(device)
        guest.master(device, True)
        guest.expect('a device on a bus of its own', True, True)
        set_bus(guest, _NO_BUS)
        guest.check(guest.is_master(device),
                    'without its bus it reads as all ones', 'it does not')
        guest.master(device, False)
        guest.expect('it was told to do no DMA', False, True)
        set_bus(guest, int(guest.bdfs[device].split(':')[1], 16))
        guest.check(guest.is_master(device), 'it has its bus again, and was '
                    'not told', 'it was')
        guest.master(device, False)
        guest.master(device, True)
        guest.expect('it does DMA again', True, True)
        guest.unplug(device)


def test_short_of_memory(machines: Machines, backend: str, checks: Checks
                         ) -> None:
    """The limit of locked memory is smaller than the shared memory."""
    with hotplug_guest(machines, backend, checks, True) as guest:
        guest.plug(0)
        said = guest.show_display()
        guest.check('devices cannot access bochs-display-vram at '
                    '0xe2000000' in said and
                    'Cannot allocate memory' in said,
                    'the memory of a display cannot be mapped, and QEMU warns '
                    'so', said)
        guest.hide_display()
        said = guest.master(0, True)
        guest.check(
            not guest.is_master(0) and 'cannot become bus master' in said,
            'a device does not become bus master, and QEMU reports it', said)
        guest.expect('shared memory cannot be mapped', False, False)
        guest.l1.check(
            f'/bin/prlimit --pid $(cat {PID_PATH}) --memlock=unlimited')
        said = guest.master(0, True)
        guest.check(guest.is_master(0) and not said, 'then it can', said)
        guest.expect('shared memory can be mapped again', True, True)
        said = guest.show_display()
        guest.check(not said, 'so can the memory of the display', said)
