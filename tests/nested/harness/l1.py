# SPDX-License-Identifier: GPL-2.0-or-later

"""The level 1 machine: an emulated KVM host with an IOMMU and a device."""

import re
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from harness.initramfs import BLOB_DIRS
from harness.lines import L1Error, LineSocket
from harness.shell import Shell, ShellTimeout

# Numbers of the virtio serial ports
CONTROL_PORT = 1
SERIAL_PORT = 2
QMP_PORT = 3
TRACE_PORT = 4
GUEST_PORT = 5

_PORTS = {CONTROL_PORT: 'control', SERIAL_PORT: 'serial', QMP_PORT: 'qmp',
          TRACE_PORT: 'trace', GUEST_PORT: 'guest'}

# The device to assign
EDU = 'edu,dma_mask=0xffffffffffffffff'

# The frequency of the TSC, which is that of -icount. On a busy machine, a
# kernel that calibrates its TSC or its delay loop can be wrong by a large
# factor.
TSC_KHZ = 1000000
_HZ = 250
CLOCK_ARGUMENTS = (f'tsc=reliable tsc_early_khz={TSC_KHZ} '
                   f'lpj={TSC_KHZ * 1000 // _HZ} no_timer_check')
# A processor of a busy machine can stand still for longer than the default of
# 21 s. Tests give up a machine that hangs.
STALL_ARGUMENT = 'rcupdate.rcu_cpu_stall_timeout=120'
_KERNEL_ARGUMENTS = (f'console=ttyS0 {CLOCK_ARGUMENTS} {STALL_ARGUMENT} quiet '
                     'loglevel=5 panic=-1')

_BOOT_TIMEOUT = 180
_COMMAND_TIMEOUT = 120
_QUIT_TIMEOUT = 60

_FAULT = re.compile(r'vtd_dmar_fault sid 0x(?P<sid>[0-9a-f]+) '
                    r'fault (?P<fault>\d+) addr 0x(?P<addr>[0-9a-f]+) '
                    r'write (?P<write>[01])')

# Kernel messages about DMA faults, whose rate is limited
_LOGGED_FAULT = re.compile(r'DMAR: \[DMA (?:Read|Write)\b')

# Kernel messages that report a problem
COMPLAINT = re.compile(
    r'WARNING:|BUG:|Oops|Kernel panic|kernel BUG|Call Trace|'
    r'blocked for more than|general protection|detected stall|'
    r'list_(?:add|del) corruption|refcount_t:|UBSAN:|soft lockup')


class Icount(Enum):
    """Whether L0 counts instructions, as options of QEMU's -icount.

    If it does, level 1 has one processor, and its TSC and clocks advance by 1
    ns with each instruction.
    """

    OFF = ''
    # While level 1 is idle, its clocks skip to the next timer
    SKIP_IDLE = 'shift=0,sleep=off'
    # While level 1 is idle, its clocks follow those of this machine
    WAIT_IDLE = 'shift=0,sleep=on'


def port_path(port: int) -> str:
    """Return the device file of a port in the level 1 machine."""
    return f'/dev/vport0p{port}'


class L1Machine:
    """Starts the machine and executes commands in it."""

    def __init__(self, qemu: Path, kernel: Path, initrd: Path, folder: Path,
                 memory_mib: int, icount: Icount, devices: int,
                 kernel_arguments: str = '', iommu_options: str = '',
                 options: Sequence[str] = ()) -> None:
        self._folder = folder
        self._console = folder / 'l1-console.log'
        self._faults = folder / 'l0-faults.log'
        self._faults_seen = 0
        self._stderr = (folder / 'l0-stderr.log').open('wb')
        command = [
            str(qemu), '-nodefaults', '-no-user-config', '-display', 'none',
            '-no-reboot', '-machine', 'q35,kernel-irqchip=split',
            '-cpu', 'EPYC,+svm,+npt,+decodeassists,'
                    f'tsc-frequency={TSC_KHZ * 1000}',
            '-m', f'{memory_mib}M',
            '-kernel', str(kernel), '-initrd', str(initrd),
            '-append', f'{_KERNEL_ARGUMENTS} {kernel_arguments}',
            '-serial', f'file:{self._console}',
            '-device', 'intel-iommu,intremap=on' + iommu_options,
            '-trace', f'vtd_dmar_fault,file={self._faults}',
            '-device', 'virtio-serial-pci,id=ports',
        ]
        for path in BLOB_DIRS:
            command += ['-L', str(path)]
        if icount is not Icount.OFF:
            command += ['-accel', 'tcg,thread=single', '-smp', '1',
                        '-icount', icount.value]
        else:
            command += ['-accel', 'tcg,thread=multi', '-smp', '2']
        for _ in range(devices):
            command += ['-device', EDU]
        command += options
        for port, name in _PORTS.items():
            command += [
                '-chardev', f'socket,id={name},server=on,wait=off,'
                            f'path={folder / name}',
                '-device', f'virtserialport,bus=ports.0,nr={port},'
                           f'chardev={name},name={name}']
        self.command = shlex.join(command)
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._stderr,
            stderr=self._stderr)
        try:
            self.sockets = {port: self._connect(name)
                            for port, name in _PORTS.items()}
            self._control = Shell(LineSocket(self.sockets[CONTROL_PORT],
                                             'control'))
            self._wait_ready()
        except BaseException:
            self.kill()
            raise

    def _connect(self, name: str) -> socket.socket:
        """Connect to a port; must be done before the guest opens it."""
        end = time.monotonic() + _BOOT_TIMEOUT
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.connect(str(self._folder / name))
                return sock
            except (FileNotFoundError, ConnectionRefusedError):
                sock.close()
            if not self.is_running() or time.monotonic() > end:
                raise L1Error('the level 1 machine does not start: '
                              f'{self.describe()}')
            time.sleep(0.01)

    def _wait_ready(self) -> None:
        try:
            self._control.wait_ready(_BOOT_TIMEOUT)
        except (L1Error, ShellTimeout) as error:
            raise L1Error('the level 1 machine does not boot: '
                          f'{self.describe()}') from error

    def describe(self) -> str:
        """Return QEMU's status, and the output of QEMU and of the kernel."""
        try:
            status = f'QEMU ended with status {self._process.wait(1)}'
        except subprocess.TimeoutExpired:
            status = 'QEMU is running'
        return '\n'.join([status, self.stderr(), self.console()])

    def run(self, command: str, timeout: float = _COMMAND_TIMEOUT
            ) -> tuple[int, str]:
        """Execute a shell command. Returns its status and output."""
        try:
            return self._control.run(command, timeout)
        except ShellTimeout as error:
            raise L1Error(f'level 1: {error}') from error

    def check(self, command: str, timeout: float = _COMMAND_TIMEOUT) -> str:
        """Execute a shell command that must succeed. Returns its output."""
        status, output = self.run(command, timeout)
        if status:
            raise L1Error(f'level 1: {command}: status {status}: {output}')
        return output

    def is_running(self) -> bool:
        return self._process.poll() is None

    def console(self) -> str:
        try:
            return self._console.read_text(errors='replace')
        except FileNotFoundError:
            return ''

    def complaints(self) -> list[str]:
        """Return lines of the kernel's log that report a problem."""
        return [line for line in self.console().splitlines()
                if COMPLAINT.search(line)]

    def stderr(self) -> str:
        return (self._folder / 'l0-stderr.log').read_text(errors='replace')

    def new_faults(self) -> list[tuple[int, int, bool]]:
        """Return new DMA faults: source id, address, whether it is a write."""
        text = self._faults.read_text() if self._faults.exists() else ''
        # The last line may be incomplete
        lines = text.splitlines(keepends=True)
        if lines and not lines[-1].endswith('\n'):
            lines.pop()
        new = lines[self._faults_seen:]
        self._faults_seen = len(lines)
        return [(int(match['sid'], 16), int(match['addr'], 16),
                 match['write'] == '1')
                for match in map(_FAULT.search, new) if match]

    def logged_faults(self) -> list[str]:
        """Return all lines of the kernel's log about DMA faults."""
        return [line for line in self.console().splitlines()
                if _LOGGED_FAULT.search(line)]

    def power_off(self) -> None:
        if self.is_running():
            self._control.send('poweroff -f')
            try:
                self._process.wait(_QUIT_TIMEOUT)
            except subprocess.TimeoutExpired as error:
                raise L1Error('the level 1 machine does not power off'
                              ) from error

    def kill(self) -> None:
        if self.is_running():
            self._process.kill()
            self._process.wait()
        self._stderr.close()
