# SPDX-License-Identifier: GPL-2.0-or-later

"""QEMU with a guest that uses devices, as scripts/first-light sees it."""

from collections.abc import Callable
from typing import Any

from first_light.machine import Gone, Refused
from tests.fake_qemu import MIB, FakeQemu

ADDRESS = '0000:01:00.0'


class FakeGuest:
    """Answers QMP commands: a guest with one device."""

    def __init__(self, backend: str = 'iommufd') -> None:
        self.qemu = FakeQemu(shared=[(0, 64 * MIB)],
                             extents=[(0, 64 * MIB, True)])
        self.backend = backend
        self.status = 'running'
        self.has_device = True
        # Whether the guest has drivers that react to events of the bus
        self.has_driver = True
        # What changes the answers of the queries
        self.memfd: dict[str, Any] = {}
        self.dma: dict[str, Any] = {}
        self.device: dict[str, Any] = {}
        self.new_events: list[dict[str, Any]] = []
        self.commands: list[str] = []
        # Exit status; None while QEMU runs
        self.ended: int | None = None
        self.can_reset = False
        # Commands that QEMU does not know, and what the others do
        self.refused: set[str] = set()
        self.actions: dict[str, Callable[[dict[str, Any]], None]] = {
            'device_del': self._unplug, 'device_add': self.plug,
            'system_reset': self._reset, 'quit': self._quit}

    def end(self, status: int | None) -> None:
        self.ended = status

    def event(self, name: str, **data: Any) -> None:
        self.new_events.append({'event': name, 'data': data})

    def _dma(self) -> list[dict[str, Any]]:
        if not self.has_device:
            return []
        info = self.qemu.execute('x-query-vfio-dma', {})[0]
        info['devices'][0] |= {'name': ADDRESS, **self.device}
        return [{**info, 'backend': self.backend, 'cuts': 0, 'cutting':
                 self.backend == 'iommufd', 'stuck-size': 0, **self.dma}]

    def answer(self, command: str, arguments: dict[str, Any]) -> Any:
        """Answer a command. Raises Refused, and Gone after the end."""
        self.commands.append(command)
        if self.ended is not None:
            raise Gone(f'{command}: QEMU has closed the monitor')
        if command in self.refused:
            raise Refused(f'{command}: The command has not been found')
        if command == 'query-status':
            return {'status': self.status}
        if command == 'query-guest-memfd':
            return [{**self.qemu.execute(command, {})[0], **self.memfd}]
        if command == 'x-query-vfio-dma':
            return self._dma()
        self.actions[command](arguments)
        return {}

    def _unplug(self, arguments: dict[str, Any]) -> None:
        assert arguments == {'id': 'dev0'} and self.has_device
        if self.has_driver:
            self.has_device = False
            self.event('DEVICE_DELETED', device='dev0', path='/machine/x')

    def plug(self, arguments: dict[str, Any]) -> None:
        assert arguments['driver'] == 'vfio-pci' and not self.has_device
        assert (arguments.get('iommufd') == 'iommufd0') == \
            (self.backend == 'iommufd')
        self.has_device = True

    def _reset(self, arguments: dict[str, Any]) -> None:
        if self.can_reset:
            self.event('RESET', guest=False, reason='host-qmp-system-reset')
        else:
            self.event('SHUTDOWN', guest=False,
                       reason='host-qmp-system-reset')
            self.end(0)

    def _quit(self, arguments: dict[str, Any]) -> None:
        self.end(0)


class FakeMonitor:
    """A monitor of a FakeGuest, without a process."""

    pid = 4711

    def __init__(self, guest: FakeGuest) -> None:
        self._guest = guest

    async def execute(self, command: str, **arguments: Any) -> Any:
        return self._guest.answer(command, arguments)

    def events(self) -> list[dict[str, Any]]:
        events, self._guest.new_events = self._guest.new_events, []
        return events

    async def exit_status(self) -> int | None:
        return self._guest.ended
