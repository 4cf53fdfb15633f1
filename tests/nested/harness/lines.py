# SPDX-License-Identifier: GPL-2.0-or-later

"""Serial lines of the machines, which are sockets on this machine."""

import select
import socket
import threading
import time


class L1Error(Exception):
    """The level 1 machine has failed."""


class LineSocket:
    """Sends and receives lines on a socket."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock = sock
        self._name = name
        self._data = b''

    def read_line(self, timeout: float) -> str | None:
        """Return the next line, or None after @timeout seconds."""
        end = time.monotonic() + timeout
        while b'\n' not in self._data:
            left = max(0.0, end - time.monotonic())
            if not select.select([self._sock], [], [], left)[0]:
                return None
            try:
                data = self._sock.recv(1 << 16)
            except OSError as error:
                raise self._closed() from error
            if not data:
                raise self._closed()
            self._data += data
        line, _, self._data = self._data.partition(b'\n')
        return line.decode(errors='replace').rstrip('\r')

    def write_line(self, line: str) -> None:
        try:
            self._sock.sendall(line.encode() + b'\n')
        except OSError as error:
            raise self._closed() from error

    def _closed(self) -> L1Error:
        return L1Error(f'the {self._name} line was closed: the level 1 '
                       'machine has ended')


class StreamReader(threading.Thread):
    """Reads the lines of a stream in a thread, as fast as possible."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self._sock = sock
        self._condition = threading.Condition()
        self._lines: list[str] = []
        self._closed = False

    def run(self) -> None:
        rest = b''
        while True:
            try:
                data = self._sock.recv(1 << 20)
            except OSError:
                data = b''
            *lines, rest = (rest + data).split(b'\n')
            with self._condition:
                self._lines += [line.decode(errors='replace')
                                for line in lines]
                self._closed = not data
                self._condition.notify()
                if self._closed:
                    return

    def take(self, timeout: float) -> list[str]:
        """Return the lines so far; wait if there are none."""
        with self._condition:
            self._condition.wait_for(lambda: self._lines or self._closed,
                                     timeout)
            lines, self._lines = self._lines, []
            return lines
