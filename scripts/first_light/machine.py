# SPDX-License-Identifier: GPL-2.0-or-later

"""A running QEMU and its QMP monitor."""

import asyncio
import contextlib
import os
import socket
import subprocess
from pathlib import Path
from typing import Any, Protocol

# Pinning memory of a large guest can keep QEMU from answering for a while
_GREETING_TIMEOUT = 120.0
_ANSWER_TIMEOUT = 60.0
_EXIT_TIMEOUT = 60.0
_LOG_TAIL = 20


class Gone(Exception):
    """QEMU has closed the monitor, or does not answer."""


class Silent(Gone):
    """QEMU sends no greeting."""


class Refused(Exception):
    """QEMU answered with an error."""


class StartError(Exception):
    """QEMU did not start."""


class Monitor(Protocol):
    """What a trial needs of QEMU."""

    @property
    def pid(self) -> int:
        """QEMU's process ID."""

    async def execute(self, command: str, **arguments: Any) -> Any:
        """Execute a QMP command. Raises Refused and Gone."""

    def events(self) -> list[dict[str, Any]]:
        """Return the events since the last call."""

    async def exit_status(self) -> int | None:
        """Wait until QEMU exits; None if it does not, and is killed."""


class Client:
    """A connection to QEMU's monitor."""

    def __init__(self, library: Any, name: str) -> None:
        """Prepare a connection; @library is QEMU's module qemu.qmp."""
        self._library = library
        self._client = library.QMPClient(name)

    async def connect(self, end: socket.socket,
                      timeout: float = _GREETING_TIMEOUT) -> None:
        """Wait for QEMU's greeting. Raises Silent and Gone."""
        try:
            await asyncio.wait_for(self._client.connect(end), timeout)
        except asyncio.TimeoutError as error:
            raise Silent(f'no QMP greeting in {timeout:.0f} s') from error
        except (OSError, EOFError, self._library.QMPError) as error:
            raise Gone(f'{error}') from error

    async def execute(self, command: str, **arguments: Any) -> Any:
        """Execute a QMP command. Raises Refused and Gone."""
        try:
            return await asyncio.wait_for(
                self._client.execute(command, arguments), _ANSWER_TIMEOUT)
        except self._library.ExecuteError as error:
            raise Refused(f'{command}: {error}') from error
        except asyncio.TimeoutError as error:
            raise Gone(f'{command}: no answer in {_ANSWER_TIMEOUT:.0f} s') \
                from error
        except (self._library.QMPError, OSError, EOFError) as error:
            raise Gone(f'{command}: QEMU has closed the monitor') from error

    async def disconnect(self) -> None:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._client.disconnect(), 1)


class Machine(Client):
    """A QEMU process, with its output in a file."""

    def __init__(self, library: Any, log: Path) -> None:
        """Prepare a process; @library is QEMU's module qemu.qmp."""
        super().__init__(library, 'first-light')
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    async def start(self, command: list[str]) -> None:
        """Start QEMU and connect to it. Raises StartError."""
        ours, theirs = socket.socketpair()
        monitor = ['-chardev', f'socket,id=qmp0,fd={theirs.fileno()}',
                   '-mon', 'chardev=qmp0,mode=control']
        # QEMU puts the changes of a disk with snapshot=on there
        environment = {**os.environ, 'TMPDIR': str(self._log.parent)}
        try:
            with theirs, self._log.open('wb') as output:
                self._process = subprocess.Popen(
                    [*command, *monitor], stdin=subprocess.DEVNULL,
                    stdout=output, stderr=output, env=environment,
                    pass_fds=[theirs.fileno()], start_new_session=True)
        except OSError as error:
            ours.close()
            raise StartError(f'{command[0]}: {error}') from error
        try:
            await self.connect(ours)
        except Silent as error:
            raise StartError(f'{error}') from error
        except Gone as error:
            await self.exit_status()
            raise StartError(self.log_tail() or 'QEMU ended without a '
                             'message') from error

    def log_tail(self) -> str:
        """Return the last lines of QEMU's output."""
        try:
            text = self._log.read_text(encoding='utf-8', errors='replace')
        except OSError:
            return ''
        return '\n'.join(text.strip().splitlines()[-_LOG_TAIL:])

    def events(self) -> list[dict[str, Any]]:
        return [dict(event) for event in self._client.events.clear()]

    async def exit_status(self) -> int | None:
        assert self._process
        for _ in range(int(_EXIT_TIMEOUT * 10)):
            if self._process.poll() is not None:
                return self._process.returncode
            await asyncio.sleep(0.1)
        self._process.kill()
        self._process.wait()
        return None

    async def close(self) -> None:
        """Disconnect, and end QEMU if it still runs."""
        await self.disconnect()
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_EXIT_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
