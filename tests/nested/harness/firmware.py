# SPDX-License-Identifier: GPL-2.0-or-later

"""The serial line of the test firmware, for tests that follow it themselves.

firmware/main.cc lists what it says.
"""

import math
import time

from harness.l2 import L2Error, L2Machine

# Between two looks at whether QEMU is still there
_ALIVE_INTERVAL = 2.0
# After so long, a guest that has said nothing is taken for one that stays so
_QUIET = 5.0


class Firmware:
    """Talks to the firmware of a guest."""

    def __init__(self, l2: L2Machine, timeout: float,
                 answer_timeout: float = math.inf) -> None:
        """@timeout: seconds that the guest may take in all

        @answer_timeout: seconds that it may take to say something
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
                raise L2Error('the guest says nothing: time is up')

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
                raise L2Error(f'the guest says "{line}" instead of '
                              f'"{" or ".join(words)}"')

    def wait_boot(self) -> None:
        """Wait until the firmware has started, whatever it said before."""
        # That may have been left without an end of line.
        while not self.read().endswith('boot'):
            pass

    def wait_quiet(self) -> None:
        """Wait until the firmware says nothing any more."""
        while self._l2.serial.read_line(_QUIET) is not None:
            pass

    def start(self, record: int = 0) -> None:
        """Execute the program from this record on."""
        self._l2.serial.write_line(f'start {record}')

    def go(self) -> None:
        """Go on after a "sync"."""
        self._l2.serial.write_line('go')

    def do(self, record: int) -> bool:
        """Execute a record while it serves. Returns whether that succeeded."""
        self._l2.serial.write_line(f'do {record}')
        return self.expect('did', 'cannot')[0] == 'did'
