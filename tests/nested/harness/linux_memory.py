# SPDX-License-Identifier: GPL-2.0-or-later

"""Plug DIMMs into a Linux guest, use their memory, and unplug them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.checks import Checks
from harness.intervals import IntervalSet
from harness.l2 import L2Error, wait_until
from harness.linux_guest import LinuxGuest
from harness.linux_run import LinuxRun
from harness.program import MIB
from harness.usage import open_files

# Linux brings memory online, and takes it offline, in blocks of this size
BLOCK_SIZE = 128 * MIB
_BLOCKS = '/sys/devices/system/memory'
# See share-range/, which is a part of the guest's kernel
_SHARE_RANGE = '/sys/kernel/debug/share-range'

_PLUG_TIMEOUT = 60.0
# Time for the guest to move the content of a DIMM to other memory
_UNPLUG_TIMEOUT = 120.0
_FREE_TIMEOUT = 10.0

# ACPI's codes: what the guest reports about, and the results
_EJECT_REQUEST = 3
_EJECT_IN_PROGRESS = 0x84
_SUCCESS = 0


def share_range(guest: LinuxGuest, gpa: int, size: int) -> None:
    """Let a guest allocate a range of memory that was plugged, and share it.
    """
    guest.check(f'echo {gpa:#x} {size:#x} >{_SHARE_RANGE}/share')


def unshare_range(guest: LinuxGuest, gpa: int, size: int) -> None:
    """Let a guest make such a range private, and free it.

    The guest checks that it has what the guest wrote to it.
    """
    guest.check(f'echo {gpa:#x} {size:#x} >{_SHARE_RANGE}/unshare')


@dataclass(frozen=True)
class Dimm:
    """A DIMM that is plugged while the guest runs.

    @zone: how the guest brings it online: "online_kernel" for all uses, or
    "online_movable" for memory that it can move elsewhere
    @backend: type of the memory backend, and its options
    """

    name: str
    size: int
    zone: str
    backend: str = 'memory-backend-ram'
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def memory(self) -> str:
        """Name of the memory backend."""
        return f'{self.name}-memory'


class LinuxMemory:
    """Plugs and unplugs DIMMs of a guest."""

    def __init__(self, run: LinuxRun, checks: Checks) -> None:
        self._run = run
        self._l2 = run.guest.l2
        self._guest = run.guest
        self._checks = checks

    def start(self, dimm: Dimm) -> int:
        """Return the address of a DIMM."""
        return self._run.plugged[dimm.memory][0]

    def shared(self, dimm: Dimm) -> int:
        """Return how much of a DIMM is shared, by KVM's attributes."""
        region = IntervalSet([self._run.plugged[dimm.memory]])
        return self._run.shared().common(region).total()

    def _blocks(self, dimm: Dimm) -> list[str]:
        first = self.start(dimm) // BLOCK_SIZE
        return [f'{_BLOCKS}/memory{number}' for number in
                range(first, first + dimm.size // BLOCK_SIZE)]

    def resources(self) -> tuple[str, int]:
        """Return QEMU's RAM blocks, and its number of open files."""
        return self._l2.hmp('info ramblock'), len(open_files(self._run.l1))

    def wait_resources(self, name: str, expected: tuple[str, int]) -> None:
        """Check that QEMU has freed all RAM blocks and files but these.

        It frees a RAM block after an RCU grace period.
        """
        self._checks.check(
            wait_until(lambda: self.resources() == expected, _FREE_TIMEOUT),
            f'{name}: QEMU has freed its RAM block and files',
            f'{expected}\n{self.resources()}')

    def plug(self, dimm: Dimm) -> None:
        """Plug a DIMM, and bring its memory online."""
        self._l2.execute('object-add', {
            'qom-type': dimm.backend, 'id': dimm.memory, 'size': dimm.size,
            **dimm.options})
        self._l2.execute('device_add', {
            'driver': 'pc-dimm', 'id': dimm.name, 'memdev': dimm.memory})
        address = next(device['data']['addr'] for device in
                       self._l2.execute('query-memory-devices')
                       if device['data']['id'] == dimm.name)
        self._run.plugged[dimm.memory] = (address, address + dimm.size)
        blocks = self._blocks(dimm)
        there = ' && '.join(f'[ -e {block}/state ]' for block in blocks)
        self._checks.check(
            wait_until(lambda: self._guest.run(there)[0] == 0, _PLUG_TIMEOUT),
            f'the guest finds {dimm.name}',
            self._guest.run(f'ls {_BLOCKS}; dmesg | tail')[1])
        self._guest.check(' && '.join(f'echo {dimm.zone} >{block}/state'
                                      for block in blocks))

    def is_online(self, dimm: Dimm) -> bool:
        states = self._guest.check('cat ' + ' '.join(
            f'{block}/state' for block in self._blocks(dimm))).split()
        return all(state == 'online' for state in states)

    def share(self, dimm: Dimm, offset: int, size: int) -> None:
        share_range(self._guest, self.start(dimm) + offset, size)

    def unshare(self, dimm: Dimm, offset: int, size: int) -> None:
        unshare_range(self._guest, self.start(dimm) + offset, size)

    def check_refusal(self, dimm: Dimm) -> None:
        """Check that the guest does not give up a DIMM in use."""
        self.request_unplug(dimm)
        status = _EJECT_IN_PROGRESS
        while status == _EJECT_IN_PROGRESS:
            info = self._l2.wait_event('ACPI_DEVICE_OST')['info']
            if info['source'] == _EJECT_REQUEST:
                status = info['status']
        self._checks.check(status != _SUCCESS,
                           f'the guest does not give up {dimm.name}',
                           f'status {status:#x}')
        self._checks.check(self.is_online(dimm),
                           f'all of {dimm.name} is online again')

    def request_unplug(self, dimm: Dimm) -> None:
        """Ask the guest for a DIMM."""
        self._l2.execute('device_del', {'id': dimm.name})

    def is_plugged(self, dimm: Dimm) -> bool:
        return any(device['data']['id'] == dimm.name for device in
                   self._l2.execute('query-memory-devices'))

    def finish_unplug(self, dimm: Dimm) -> None:
        """Wait for the guest, and delete the DIMM's memory backend."""
        try:
            self._l2.wait_event('DEVICE_DELETED', _UNPLUG_TIMEOUT)
        except L2Error as error:
            raise L2Error(f'{error}; the guest does not give up {dimm.name}: '
                          + self._guest.run('dmesg | tail')[1]) from error
        self._l2.execute('object-del', {'id': dimm.memory})
        del self._run.plugged[dimm.memory]

    def unplug(self, dimm: Dimm) -> None:
        self.request_unplug(dimm)
        self.finish_unplug(dimm)
