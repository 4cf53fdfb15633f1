# SPDX-License-Identifier: GPL-2.0-or-later

"""Talk to the test firmware on its serial line.

Tests use this that control the guest themselves. firmware/main.cc lists the
firmware's messages.
"""

import math
import time

from harness.l2 import L2Error, L2Machine

# Interval in seconds at which to check that QEMU is running
_ALIVE_INTERVAL = 2.0
# Seconds without output after which a guest is considered quiet
_QUIET = 5.0


class Firmware:
    """Talks to the firmware of a guest."""

    def __init__(self, l2: L2Machine, timeout: float,
                 answer_timeout: float = math.inf) -> None:
        """@timeout: time limit for the guest in seconds

        @answer_timeout: time limit for each line in seconds
        """
        self._l2 = l2
        self._deadline = time.monotonic() + timeout
        self._answer_timeout = answer_timeout

    def read(self) -> str:
        """Return the next line.

        Raises L2Error if QEMU ended, or if time is up.
        """
        deadline = min(self._deadline,
                       time.monotonic() + self._answer_timeout)
        while True:
            line = self._l2.serial.read_line(_ALIVE_INTERVAL)
            if line is not None:
                return line
            status = self._l2.exit_status()
            if status is not None:
                raise L2Error(f'QEMU ended with status {status}')
            if time.monotonic() > deadline:
                raise L2Error('the guest sends no line: time is up')

    def expect(self, *words: str) -> list[str]:
        """Return the words of the next line that is not a note.

        Raises L2Error if it does not begin with one of these.
        """
        while True:
            line = self.read()
            said = line.split() or ['']
            if said[0] in words:
                return said
            if said[0] != 'note':
                raise L2Error(f'the guest sends "{line}" instead of '
                              f'"{" or ".join(words)}"')

    def wait_boot(self) -> None:
        """Wait until the firmware has started, ignoring earlier output."""
        # Earlier output may lack an end of line
        while not self.read().endswith('boot'):
            pass

    def wait_quiet(self) -> None:
        """Wait until the firmware sends no more lines."""
        while self._l2.serial.read_line(_QUIET) is not None:
            pass

    def start(self, record: int = 0) -> None:
        """Execute the program, starting at this record."""
        self._l2.serial.write_line(f'start {record}')

    def go(self) -> None:
        """Continue after a "sync"."""
        self._l2.serial.write_line('go')

    def do(self, record: int) -> bool:
        """Execute a record of a "serve". Returns whether that succeeded."""
        self._l2.serial.write_line(f'do {record}')
        return self.expect('did', 'cannot')[0] == 'did'
