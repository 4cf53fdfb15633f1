# SPDX-License-Identifier: GPL-2.0-or-later

"""The level 2 machine: the guest with private memory under test."""

import re
import select
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intervals import IntervalSet
from l1 import QMP_PORT, SERIAL_PORT, L1Machine, LineSocket, port_path
from program import BACKINGS, ESB_SLOT, HUGE_PAGE, Machine
from wire import PROGRAM_FILE

# Files of the level 1 machine
FIRMWARE_PATH = '/firmware/nested-firmware.bin'
PROGRAM_PATH = '/firmware/program.bin'
AUDIT_PATH = '/bin/audit-pages'
PID_PATH = '/run/qemu-pid'
_STDERR_PATH = '/run/qemu-stderr'
_STATUS_PATH = '/run/qemu-status'
_AUDIT_COPY_PATH = '/run/audit'

# Copied at once, to the level 1 machine's memory
_AUDIT_PIECE = 64 << 20

# Memory backends, as programs call them
_BACKENDS = {
    'ram': 'memory-backend-ram',
    'ram-shared': 'memory-backend-ram,share=on',
    'memfd': 'memory-backend-memfd',
    'memfd-private': 'memory-backend-memfd,share=off',
    'hugetlb': f'memory-backend-memfd,hugetlb=on,hugetlbsize={HUGE_PAGE}',
}

# q35's ACPI hotplug
_EJECT_SLOTS = 0xcc8
_EJECT_BUS = 0xcd0

_POLL_INTERVAL = 0.1
_QMP_TIMEOUT = 30.0
_QUIT_TIMEOUT = 30.0


class L2Error(Exception):
    """The level 2 machine does not do what it should."""


@dataclass
class Manager:
    """What QEMU says of one RAM block with private memory."""

    block_id: str
    size: int
    shared_size: int
    to_shared: int
    to_private: int
    failures: int


@dataclass
class Layout:
    """What QEMU says of the mappings of one VFIO container."""

    path: str
    open: bool
    extents: int
    populated_size: int
    mapped_size: int
    missing_size: int
    splits: int
    merges: int
    failures: int
    entries_left: int


# Emulated devices of the names that programs have, with the legacy interface,
# which QEMU does not give to guests with private memory by itself. The disk is
# slow, so that requests take a while; the network is a socket that sends to
# itself. The watchdog has 16 bytes of registers and a ROM of 1 KiB, both less
# than a page.
_LEGACY = 'disable-modern=on,disable-legacy=off,iommu_platform=off'
_DISK_PATH = '/run/disk'
_DISK_REQUESTS_PER_SECOND = 100
_NET_PATH = '/run/net'
_ROM_PATH = '/run/rom'
_DEVICES = {
    'virtio-blk': [
        '-drive', f'if=none,id=disk,format=raw,file={_DISK_PATH},'
                  f'throttling.iops-total={_DISK_REQUESTS_PER_SECOND}',
        '-device', f'virtio-blk-pci,drive=disk,{_LEGACY}'],
    'virtio-net': [
        '-netdev', f'dgram,id=net,local.type=unix,local.path={_NET_PATH},'
                   f'remote.type=unix,remote.path={_NET_PATH}',
        '-device', f'virtio-net-pci,netdev=net,romfile=,{_LEGACY}'],
    'i6300esb': [
        '-device', f'i6300esb,addr={ESB_SLOT:#x},romfile={_ROM_PATH}'],
}


def _private_guest(machine: Machine) -> list[str]:
    return ['-machine', 'q35,kernel-irqchip=split,'
                        'confidential-guest-support=sp0',
            '-object', 'sw-protected-vm,id=sp0',
            '-m', f'{machine.memory >> 20}M']


def _plain_guest(machine: Machine) -> list[str]:
    """A guest without private memory, but with a virtio-mem device.

    Without SMM, its memory map is that of the guests with private memory; and
    it may look at what is not plugged.
    """
    maximum = machine.memory + machine.vmem_size
    return ['-machine', 'q35,kernel-irqchip=split,smm=off',
            '-m', f'{machine.memory >> 20}M,slots=1,maxmem={maximum >> 20}M',
            '-object', f'memory-backend-ram,id=vmem,size={machine.vmem_size}',
            '-device', 'virtio-mem-pci,memdev=vmem,'
                       f'requested-size={machine.vmem_size},'
                       f'block-size={machine.vmem_block},'
                       'unplugged-inaccessible=off']


def _backends(machine: Machine) -> list[str]:
    """Memory backends, where the machine's own one will not do."""
    if machine.blocks == 1 and machine.backing == BACKINGS[0]:
        return []
    size = (machine.memory >> 20) // machine.blocks
    command = []
    for block in range(machine.blocks):
        command += ['-object', f'{_BACKENDS[machine.backing]},id=ram{block},'
                               f'size={size}M']
        if machine.blocks > 1:
            command += ['-numa', f'node,memdev=ram{block}']
    if machine.blocks == 1:
        command += ['-machine', 'memory-backend=ram0']
    return command


class L2Machine:
    """Starts the guest in the level 1 machine and talks to both of them."""

    def __init__(self, l1: L1Machine, machine: Machine, bdf: str | None,
                 backend: str) -> None:
        self._l1 = l1
        self._qmp: Any = None
        self._objects: dict[str, list[str]] | None = None
        # Of QEMU, when it is started
        self.environment: dict[str, str] = {}
        self.serial = LineSocket(l1.sockets[SERIAL_PORT], 'serial')
        command = [
            'qemu', '-L', '/firmware', '-nodefaults', '-no-user-config',
            '-name', 'debug-threads=on',
            '-display', 'none', '-vga', 'none', '-accel', 'kvm',
            '-cpu', 'host', '-smp', str(machine.cpus),
            *(_plain_guest(machine) if machine.is_plain
              else _private_guest(machine)),
            '-bios', FIRMWARE_PATH,
            '-fw_cfg', f'name={PROGRAM_FILE},file={PROGRAM_PATH}',
            '-chardev', f'pipe,id=serial,path={port_path(SERIAL_PORT)}',
            '-serial', 'chardev:serial',
            '-chardev', f'pipe,id=qmp,path={port_path(QMP_PORT)}',
            '-mon', 'chardev=qmp,mode=control',
        ]
        command += _backends(machine)
        for name in machine.devices:
            command += _DEVICES[name]
        if bdf:
            device = f'vfio-pci,id=edu0,host={bdf}'
            if backend == 'iommufd':
                command += ['-object', 'iommufd,id=iommufd0']
                device += ',iommufd=iommufd0'
            if machine.shared_dma_extent:
                device += f',x-shared-dma-extent={machine.shared_dma_extent}'
            command += ['-device', device]
        self.command = shlex.join(command)

    def start(self) -> None:
        environment = ' '.join(f'{name}={shlex.quote(value)}' for name, value
                               in self.environment.items())
        self._l1.check(
            f'rm -f {_STATUS_PATH}; truncate -s 1M {_DISK_PATH}; '
            f'truncate -s 1K {_ROM_PATH}; '
            f'({environment} {self.command} >{_STDERR_PATH} 2>&1 & '
            f'echo $! >{PID_PATH}; '
            f'wait $!; echo $? >{_STATUS_PATH}) </dev/null >/dev/null 2>&1 &')

    def exit_status(self) -> int | None:
        """How QEMU ended, or None if it did not."""
        output = self._l1.run(f'cat {_STATUS_PATH}')[1].strip()
        return int(output) if output.isdigit() else None

    def wait_exit(self) -> int | None:
        end = time.monotonic() + _QUIT_TIMEOUT
        while time.monotonic() < end:
            status = self.exit_status()
            if status is not None:
                return status
            time.sleep(_POLL_INTERVAL)
        return None

    def stderr(self) -> str:
        return self._l1.run(f'cat {_STDERR_PATH}')[1]

    def kill(self) -> None:
        self._l1.run(f'kill -9 $(cat {PID_PATH})')

    def connect(self, python_dir: Path) -> None:
        """Connects to QEMU's monitor, with QEMU's own Python library."""
        if str(python_dir) not in sys.path:
            sys.path.insert(0, str(python_dir))
        # pylint: disable=import-outside-toplevel
        from qemu.qmp.legacy import QEMUMonitorProtocol
        sock = self._l1.sockets[QMP_PORT]
        # The library would wait for a greeting for ever.
        if not select.select([sock], [], [], _QMP_TIMEOUT)[0]:
            raise L2Error('QEMU does not open its monitor')
        self._qmp = QEMUMonitorProtocol(sock)
        self._qmp.settimeout(_QMP_TIMEOUT)
        self._qmp.connect()

    def set_timeout(self, seconds: float) -> None:
        """Sets how long a QMP command may take."""
        self._qmp.settimeout(seconds)

    def execute(self, name: str, arguments: dict[str, object] | None = None
                ) -> Any:
        """Executes a QMP command."""
        # pylint: disable=import-outside-toplevel
        from qemu.qmp import QMPError
        try:
            return self._qmp.cmd(name, **(arguments or {}))
        except (QMPError, TimeoutError) as error:
            raise L2Error(f'QMP command {name} {arguments or ""}: '
                          f'{str(error) or type(error).__name__}') from error

    def wait_event(self, name: str) -> None:
        """Waits for a QMP event; others are forgotten."""
        while True:
            try:
                event = self._qmp.pull_event(wait=_QMP_TIMEOUT)
            except TimeoutError as error:
                raise L2Error(f'QMP event {name} does not come') from error
            if event['event'] == name:
                return

    @property
    def is_connected(self) -> bool:
        """Whether QEMU's monitor can be talked to."""
        return self._qmp is not None

    def set_results(self, results: str) -> None:
        """Has QEMU return what KVM takes of such a guest's conversions."""
        self.execute('qom-set', {'path': '/objects/sp0',
                                 'property': 'x-map-gpa-range',
                                 'value': results})

    def hmp(self, line: str) -> str:
        """Executes a command of the human monitor."""
        return self.execute('human-monitor-command', {'command-line': line})

    def unplug(self, device: str, acpi_bus: int) -> None:
        """Also does what the guest would: eject the device.

        Root ports have numbers that QEMU gave their buses for ACPI, from 0 on
        for the last one.
        """
        self.execute('device_del', {'id': device})
        self.hmp(f'o/4 {_EJECT_BUS:#x} {acpi_bus:#x}')
        self.hmp(f'o/4 {_EJECT_SLOTS:#x} 1')
        # It is detached when nothing refers to it any more.
        self.wait_event('DEVICE_DELETED')

    def events(self, name: str) -> list[dict[str, Any]]:
        """What QMP events of that name have said; others are forgotten."""
        return [event['data'] for event in self._qmp.get_events()
                if event['event'] == name]

    def quit(self) -> None:
        self.execute('quit')

    def disconnect(self) -> None:
        if self._qmp:
            self._qmp.close()
            self._qmp = None

    def audited_pages(self, gpa: int, size: int, nonce: int) -> IntervalSet:
        """Which pages of shared memory hold the word of this audit."""
        pages = IntervalSet()
        for start in range(gpa, gpa + size, _AUDIT_PIECE):
            self.execute('pmemsave', {
                'val': start, 'size': min(_AUDIT_PIECE, gpa + size - start),
                'filename': _AUDIT_COPY_PATH})
            output = self._l1.check(
                f'{AUDIT_PATH} {_AUDIT_COPY_PATH} {start:x} {nonce:x} && '
                f'rm {_AUDIT_COPY_PATH}')
            for line in output.splitlines():
                first, end = line.split()
                pages.add(int(first, 16), int(end, 16))
        return pages

    def threads(self) -> str:
        """What QEMU's threads do: for a QEMU that does nothing any more."""
        return self._l1.run(
            f'cd /proc/$(cat {PID_PATH})/task 2>/dev/null && for t in *; do '
            'echo "$t $(cat $t/comm): $(grep State $t/status), '
            'in $(cat $t/wchan), system call $(cat $t/syscall)"; done')[1]

    def plugged_size(self) -> int:
        """What QEMU says of the virtio-mem device."""
        devices = self.execute('query-memory-devices')
        return sum(int(device['data']['size']) for device in devices
                   if device['type'] == 'virtio-mem')

    def forget_objects(self) -> None:
        """Has to be called when objects may have come or gone."""
        self._objects = None

    def _find_objects(self, kind: str) -> list[str]:
        """Paths of all objects of a type, as when this was called first.

        The whole tree in one answer: a command for each of its nodes would
        take longer than all the rest of a run.
        """
        if self._objects is None:
            self._objects = self._list_objects()
        return self._objects.get(kind, [])

    def find_objects(self, kind: str) -> list[str]:
        """Paths of all objects of a type that there are now."""
        return self._list_objects().get(kind, [])

    def _list_objects(self) -> dict[str, list[str]]:
        objects: dict[str, list[str]] = {}
        parents: list[str] = []
        for line in self.hmp('info qom-tree /').splitlines():
            match = re.fullmatch(r'( *)/(.*) \((.*)\)', line)
            if match:
                depth = len(match[1]) // 2
                parents[depth:] = [match[2]]
                objects.setdefault(match[3], []).append(
                    '/' + '/'.join(filter(None, parents)))
        return objects

    def _get(self, path: str, *names: str) -> list[Any]:
        return [self.execute('qom-get', {'path': path, 'property': name})
                for name in names]

    def managers(self) -> list[Manager]:
        """What QEMU says of each RAM block with private memory.

        Empty if this is a QEMU that does not tell.
        """
        if not self._find_objects('guest-memfd-manager'):
            return []
        return [Manager(info['id'], info['size'], info['shared-size'],
                        info['conversions-to-shared'],
                        info['conversions-to-private'], info['failures'])
                for info in self.execute('query-guest-memfd')]

    def layout(self) -> Layout | None:
        """What QEMU says of the device's container.

        None if there is no device, or if this is a QEMU that does not tell.
        """
        for path in self._find_objects('vfio-dma-layout'):
            return Layout(path, *self._get(
                path, 'open', 'extents', 'populated-size', 'mapped-size',
                'missing-size', 'splits', 'merges', 'failures',
                'entries-left'))
        return None
