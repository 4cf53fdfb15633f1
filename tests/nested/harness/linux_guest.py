# SPDX-License-Identifier: GPL-2.0-or-later

"""A Linux guest with private memory and assigned devices, in level 1."""

import re
from pathlib import Path

from harness.guest_options import LinuxMachine, linux_guest
from harness.l1 import COMPLAINT, GUEST_PORT, SERIAL_PORT, L1Machine
from harness.l2 import L2Error, L2Machine
from harness.lines import LineSocket, StreamReader
from harness.shell import Shell, ShellTimeout

BOOT_TIMEOUT = 300.0
COMMAND_TIMEOUT = 300.0

# Title of the guest's console, which follows the reason in errors
CONSOLE_TITLE = "the end of the guest's console:"

# Number of lines of the console to show after a failure
_SHOWN_LINES = 30

# Lines after which a guest does not continue
_DEATH = re.compile(r'Kernel panic|loader: error')


class LinuxGuest:
    """Starts the guest, and executes commands in it."""

    def __init__(self, l1: L1Machine, machine: LinuxMachine) -> None:
        self.machine = machine
        self.l2 = L2Machine(l1, linux_guest(machine))
        self._reader = StreamReader(l1.sockets[SERIAL_PORT])
        self._lines: list[str] = []
        # Number of lines that take_complaints() has seen
        self._seen = 0
        self._shell = Shell(LineSocket(l1.sockets[GUEST_PORT], 'guest'),
                            self._check_alive)

    def start(self, qemu_python: Path, timeout: float = BOOT_TIMEOUT
              ) -> None:
        """Start QEMU, wait for the guest, and connect to the monitor."""
        self._reader.start()
        self.l2.start()
        self.wait_boot(timeout)
        self.l2.connect(qemu_python)

    def wait_boot(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Wait until the guest executes commands."""
        try:
            self._shell.wait_ready(timeout)
        except ShellTimeout as error:
            raise self._error('the guest does not boot') from error

    def run(self, command: str, timeout: float = COMMAND_TIMEOUT
            ) -> tuple[int, str]:
        """Execute a shell command. Returns its status and output."""
        try:
            return self._shell.run(command, timeout)
        except ShellTimeout as error:
            raise self._error(str(error)) from error

    def check(self, command: str, timeout: float = COMMAND_TIMEOUT) -> str:
        """Execute a shell command that must succeed. Returns its output."""
        status, output = self.run(command, timeout)
        if status:
            raise L2Error(f'guest: {command}: status {status}: {output}')
        return output

    def send(self, command: str) -> None:
        """Execute a shell command that ends the guest's kernel."""
        self._shell.send(command)

    def console(self) -> list[str]:
        """Return all lines of the guest's console."""
        self._lines += self._reader.take(0)
        return self._lines

    def take_complaints(self) -> list[str]:
        """Return the guest's lines from its first report of a problem on.

        Reports that an earlier call has seen are left out.
        """
        lines = self.console()
        new = lines[self._seen:]
        self._seen = len(lines)
        for number, line in enumerate(new):
            if COMPLAINT.search(line):
                return new[number:number + _SHOWN_LINES]
        return []

    def check_qemu(self) -> None:
        """Raise L2Error if QEMU has ended."""
        status = self.l2.exit_status()
        if status is not None:
            raise self._error(f'QEMU ended with status {status}')

    def _check_alive(self) -> None:
        self.check_qemu()
        if any(map(_DEATH.search, self.console())):
            raise self._error('the guest has failed')

    def _error(self, text: str) -> L2Error:
        shown = '\n'.join(self.console()[-_SHOWN_LINES:])
        return L2Error(f'{text}; {CONSOLE_TITLE}\n{shown}')
