# SPDX-License-Identifier: GPL-2.0-or-later

"""Execute commands in a machine that runs tests/nested/init."""

import time
from collections.abc import Callable

from harness.lines import LineSocket

_READY = '@ready'
_END = '@end '

# Interval in seconds at which to check that the machine is alive
_ALIVE_INTERVAL = 2.0


class ShellTimeout(Exception):
    """The machine does not answer in time."""


class Shell:
    """Executes shell commands, one at a time."""

    def __init__(self, line: LineSocket,
                 check_alive: Callable[[], None] = lambda: None) -> None:
        """@check_alive is called again and again while the machine does not
        answer. It raises an exception if there will be no answer.
        """
        self._line = line
        self._check_alive = check_alive

    def _read_line(self, end: float) -> str | None:
        """Return the next line, or None if there is none until @end."""
        while True:
            left = max(0.0, end - time.monotonic())
            line = self._line.read_line(min(left, _ALIVE_INTERVAL))
            if line is not None or left <= _ALIVE_INTERVAL:
                return line
            self._check_alive()

    def wait_ready(self, timeout: float) -> None:
        """Wait until the machine has started."""
        end = time.monotonic() + timeout
        while True:
            line = self._read_line(end)
            if line is None:
                raise ShellTimeout('the machine does not start')
            # Earlier output may lack an end of line
            if line.endswith(_READY):
                return

    def send(self, command: str) -> None:
        """Send a command that is not answered."""
        self._line.write_line(command)

    def run(self, command: str, timeout: float) -> tuple[int, str]:
        """Execute a shell command. Returns its status and output."""
        self._line.write_line(command)
        end = time.monotonic() + timeout
        lines = []
        while True:
            line = self._read_line(end)
            if line is None:
                raise ShellTimeout(f'no answer to: {command}')
            # The output before the mark may lack an end of line
            output, mark, status = line.rpartition(_END)
            if mark:
                lines += [output] if output else []
                return int(status), '\n'.join(lines)
            lines.append(line)
