# SPDX-License-Identifier: GPL-2.0-or-later

"""The level 2 machine: the guest with private memory under test."""

import importlib
import re
import select
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dma_map.qmp_library import load_qmp
from harness.guest_options import DISK_PATH, FIRST_DEVICE, ROM_PATH
from harness.intervals import IntervalSet
from harness.l1 import QMP_PORT, SERIAL_PORT, L1Machine, port_path
from harness.lines import LineSocket
from harness.program import PAGE_SIZE

# Files in the level 1 machine
AUDIT_PATH = '/bin/audit-pages'
PID_PATH = '/run/qemu-pid'
_STDERR_PATH = '/run/qemu-stderr'
_STATUS_PATH = '/run/qemu-status'
_AUDIT_COPY_PATH = '/run/audit'

# Number of bytes to copy at a time, to the level 1 machine's memory
_AUDIT_PIECE = 64 << 20

# q35's ACPI hotplug
_EJECT_SLOTS = 0xcc8
_EJECT_BUS = 0xcd0

_POLL_INTERVAL = 0.1
_QMP_TIMEOUT = 30.0
_QUIT_TIMEOUT = 30.0


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Wait until a condition holds. Returns False after @timeout seconds."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(_POLL_INTERVAL)
    return condition()


class L2Error(Exception):
    """The level 2 machine has failed."""


@dataclass
class Manager:
    """QEMU's report about one RAM block with private memory."""

    id: str
    size: int
    shared_size: int
    to_shared: int
    to_private: int
    failures: int


@dataclass
class Layout:
    """QEMU's report about the mappings of one VFIO container."""

    devices: tuple[str, ...]
    open: bool
    extents: int
    populated_size: int
    mapped_size: int
    missing_size: int
    stuck_size: int
    splits: int
    merges: int
    failures: int
    map_calls: int
    unmap_calls: int
    # Whether mappings are cut in place, and how often: never by QEMU without
    # this feature
    cutting: bool
    cuts: int


class L2Machine:
    """Starts QEMU in the level 1 machine, and controls QEMU and the guest."""

    def __init__(self, l1: L1Machine, options: Sequence[str]) -> None:
        """@options: QEMU's options for the guest, see harness/guest_options
        """
        self._l1 = l1
        self._qmp: Any = None
        self._library: Any = None
        self._commands: set[str] = set()
        # Environment variables for QEMU
        self.environment: dict[str, str] = {}
        self.serial = LineSocket(l1.sockets[SERIAL_PORT], 'serial')
        self.command = shlex.join([
            'qemu', '-L', '/firmware', '-nodefaults', '-no-user-config',
            '-name', 'debug-threads=on', '-display', 'none', '-vga', 'none',
            '-accel', 'kvm', '-cpu', 'host',
            '-chardev', f'pipe,id=serial,path={port_path(SERIAL_PORT)}',
            '-serial', 'chardev:serial',
            '-chardev', f'pipe,id=qmp,path={port_path(QMP_PORT)}',
            '-mon', 'chardev=qmp,mode=control', *options])

    def add_options(self, *options: str) -> None:
        """Add options for QEMU; must be called before start()."""
        self.command += shlex.join(['', *options])

    def run_in_shell(self, setup: str, prefix: str = '') -> None:
        """Start QEMU from a shell that executes @setup, then @prefix QEMU."""
        self.command = shlex.join(
            ['sh', '-c', f'{setup}; exec {prefix}{self.command}'])

    def limit_locked_memory(self, size: int) -> None:
        """Limit QEMU's locked memory to @size bytes. Needs setpriv in level 1.
        """
        self.run_in_shell(f'ulimit -l {size >> 10}',
                          '/bin/setpriv --bounding-set=-ipc_lock ')

    def start(self) -> None:
        environment = ' '.join(f'{name}={shlex.quote(value)}' for name, value
                               in self.environment.items())
        self._l1.check(
            f'rm -f {_STATUS_PATH}; truncate -s 1M {DISK_PATH}; '
            f'truncate -s 1K {ROM_PATH}; '
            f'({environment} {self.command} >{_STDERR_PATH} 2>&1 & '
            f'echo $! >{PID_PATH}; '
            f'wait $!; echo $? >{_STATUS_PATH}) </dev/null >/dev/null 2>&1 &')

    def exit_status(self) -> int | None:
        """Return QEMU's exit status, or None if it is running."""
        output = self._l1.run(f'cat {_STATUS_PATH}')[1].strip()
        return int(output) if output.isdigit() else None

    def wait_exit(self) -> int | None:
        """Wait for QEMU to end. Returns its status, or None after a timeout.
        """
        wait_until(lambda: self.exit_status() is not None, _QUIT_TIMEOUT)
        return self.exit_status()

    def stderr(self) -> str:
        return self._l1.run(f'cat {_STDERR_PATH}')[1]

    def kill(self) -> None:
        self._l1.run(f'kill -9 $(cat {PID_PATH})')

    def connect(self, python_dir: Path) -> None:
        """Connect to QEMU's monitor, with QEMU's own Python library."""
        self._library = load_qmp(python_dir)
        legacy = importlib.import_module('qemu.qmp.legacy')
        sock = self._l1.sockets[QMP_PORT]
        # The library would wait for the greeting without a timeout
        if not select.select([sock], [], [], _QMP_TIMEOUT)[0]:
            raise L2Error('QEMU does not open its monitor')
        self._qmp = legacy.QEMUMonitorProtocol(sock)
        self._qmp.settimeout(_QMP_TIMEOUT)
        self._qmp.connect()
        self._commands = {command['name']
                          for command in self.execute('query-commands')}

    def set_timeout(self, seconds: float) -> None:
        """Set the timeout of QMP commands."""
        self._qmp.settimeout(seconds)

    def execute(self, name: str,
                arguments: Mapping[str, object] | None = None) -> Any:
        """Execute a QMP command."""
        try:
            return self._qmp.cmd(name, **(arguments or {}))
        except (self._library.QMPError, TimeoutError) as error:
            raise L2Error(f'QMP command {name} {arguments or ""}: '
                          f'{str(error) or type(error).__name__}') from error

    def wait_event(self, name: str, timeout: float = _QMP_TIMEOUT
                   ) -> dict[str, Any]:
        """Wait for a QMP event, and return its data.

        Other events are dropped.
        """
        while True:
            try:
                event = self._qmp.pull_event(wait=timeout)
            except TimeoutError as error:
                raise L2Error(f'QMP event {name} does not come') from error
            if event['event'] == name:
                return event.get('data', {})

    @property
    def is_connected(self) -> bool:
        """Whether the monitor is connected."""
        return self._qmp is not None

    def set_results(self, results: str) -> None:
        """Set the kind of results that conversions return to KVM."""
        self.execute('qom-set', {'path': '/objects/sp0',
                                 'property': 'x-map-gpa-range',
                                 'value': results})

    def hmp(self, line: str) -> str:
        """Execute a command of the human monitor."""
        return self.execute('human-monitor-command', {'command-line': line})

    def unplug(self, device: str, acpi_bus: int) -> None:
        """Unplug a device, and eject it like the guest would.

        @acpi_bus: QEMU's number for the root port in ACPI, 0 for the last one
        """
        self.execute('device_del', {'id': device})
        self.hmp(f'o/4 {_EJECT_BUS:#x} {acpi_bus:#x}')
        self.hmp(f'o/4 {_EJECT_SLOTS:#x} 1')
        # QEMU detaches the device when the last reference is dropped
        self.wait_event('DEVICE_DELETED')

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the data of QMP events @name; other events are dropped."""
        return [event['data'] for event in self._qmp.get_events()
                if event['event'] == name]

    def quit(self) -> None:
        self.execute('quit')

    def disconnect(self) -> None:
        if self._qmp:
            # The level 1 machine may have ended
            with suppress(EOFError, OSError):
                self._qmp.close()
            self._qmp = None

    def sections(self, gpa: int, size: int) -> list[tuple[int, int]]:
        """Return the parts of a memory range that are in one RAM block each.

        For a QEMU without the query, this is the whole range.
        """
        if 'query-guest-memfd' not in self._commands:
            return [(gpa, gpa + size)]
        return [(max(gpa, section['gpa']),
                 min(gpa + size, section['gpa'] + section['size']))
                for info in self.execute('query-guest-memfd')
                for section in info['sections']
                if section['gpa'] < gpa + size and
                gpa < section['gpa'] + section['size']]

    def copy_backing(self, gpa: int, size: int, path: str) -> None:
        """Copy QEMU's memory for a part of a RAM block to a file in level 1.

        This is the shared backing, also of private pages, which QEMU's
        commands do not read. Copying may allocate it.
        """
        address = int(self.hmp(f'gpa2hva {gpa:#x}').split()[-1], 16)
        self._l1.check(
            f'dd if=/proc/$(cat {PID_PATH})/mem of={path} bs={PAGE_SIZE} '
            f'skip={address // PAGE_SIZE} count={size // PAGE_SIZE} '
            '2>/dev/null')

    def audited_pages(self, gpa: int, size: int, nonce: int) -> IntervalSet:
        """Return the pages of shared memory that contain this audit's word."""
        pages = IntervalSet()
        for first, end in self.sections(gpa, size):
            for start in range(first, end, _AUDIT_PIECE):
                self.copy_backing(start, min(_AUDIT_PIECE, end - start),
                                  _AUDIT_COPY_PATH)
                output = self._l1.check(
                    f'{AUDIT_PATH} {_AUDIT_COPY_PATH} {start:x} {nonce:x} && '
                    f'rm {_AUDIT_COPY_PATH}')
                for line in output.splitlines():
                    page, after = line.split()
                    pages.add(int(page, 16), int(after, 16))
        return pages

    def _threads(self) -> str:
        """Return the state of QEMU's threads, and counters of interrupts."""
        return self._l1.run(
            f'cd /proc/$(cat {PID_PATH})/task 2>/dev/null && for t in *; do '
            'echo "$t $(cat $t/comm): $(grep State $t/status), '
            'in $(cat $t/wchan), system call $(cat $t/syscall), '
            "user, system time and CPU: $(sed 's/.*) //' $t/stat | "
            'cut -d" " -f12,13,37)"; done; grep -E "CPU|LOC|RES" '
            '/proc/interrupts')[1]

    def _vcpus(self) -> str:
        """Return some registers and statistics of each vCPU."""
        registers = [line for line in self.hmp('info registers -a').split('\n')
                     if re.match(r'CPU#|RIP|EIP|CS |CR0', line)]
        statistics = [
            ', '.join(f"{stat['name']} {stat['value']}"
                      for stat in result['stats']
                      if isinstance(stat['value'], int) and stat['value'])
            for result in self.execute('query-stats', {'target': 'vcpu'})]
        return '\n'.join(registers + statistics)

    def diagnosis(self) -> str:
        """Return what shows why the guest does not make progress."""
        parts = [self.stderr(), self._threads()]
        if self.is_connected:
            try:
                # Counters that have not changed show what does not happen
                parts += [self._vcpus(), self._threads(), self._vcpus()]
            except L2Error as error:
                parts.append(str(error))
        return '\n'.join(parts)

    def plugged_size(self, device: str = '') -> int:
        """Return the plugged size of a virtio-mem device, or of all."""
        devices = self.execute('query-memory-devices')
        return sum(int(info['data']['size']) for info in devices
                   if info['type'] == 'virtio-mem' and
                   device in ('', info['data'].get('id')))

    def managers(self) -> list[Manager]:
        """Return QEMU's report about each RAM block with private memory.

        The list is empty if this QEMU has no such query.
        """
        if 'query-guest-memfd' not in self._commands:
            return []
        return [Manager(info['id'], info['size'], info['shared-size'],
                        info['conversions-to-shared'],
                        info['conversions-to-private'], info['failures'])
                for info in self.execute('query-guest-memfd')]

    def layouts(self) -> list[Layout]:
        """Return QEMU's report about the mappings of each VFIO container.

        The list is empty if this QEMU has no such query.
        """
        if 'x-query-vfio-dma' not in self._commands:
            return []
        return [Layout(tuple(device.get('id', '')
                             for device in info['devices']),
                       info['open'], info['extents'], info['populated-size'],
                       info['mapped-size'], info['missing-size'],
                       info['stuck-size'], info['splits'], info['merges'],
                       info['failures'], info['map-calls'],
                       info['unmap-calls'], info.get('cutting', False),
                       info.get('cuts', 0))
                for info in self.execute('x-query-vfio-dma')]

    def layout(self) -> Layout | None:
        """Return the layout of the container of the first device.

        Returns None if there is no device, or if this QEMU has no such query.
        """
        layouts = self.layouts()
        for layout in layouts:
            if FIRST_DEVICE in layout.devices:
                return layout
        return layouts[0] if layouts else None
