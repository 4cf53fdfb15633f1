# SPDX-License-Identifier: GPL-2.0-or-later

"""A QMP monitor that answers like QEMU, and test cases that have one."""

import json
import socket
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any

from lib.version import ROOT
from tests.fake_qemu import usual

_LIBRARY = ROOT / 'build/qemu-src/python'

COMMANDS = ('query-guest-memfd', 'x-query-vfio-dma', 'query-status',
            'query-name')


class Server(threading.Thread):
    """A QMP monitor of a FakeQemu, for one client."""

    def __init__(self, path: Path, greets: bool = True,
                 knows: bool = True) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._greets = greets
        self._knows = knows
        self._qemu = usual()
        self.client: socket.socket | None = None

    def run(self) -> None:
        self.client = self._socket.accept()[0]
        if not self._greets:
            return
        try:
            self._serve(self.client)
        except OSError:
            pass

    def _serve(self, client: socket.socket) -> None:
        def say(value: dict[str, Any]) -> None:
            client.sendall(json.dumps(value).encode() + b'\r\n')

        say({'QMP': {'version': {'qemu': {'major': 10, 'minor': 0,
                                          'micro': 0}, 'package': ''},
                     'capabilities': []}})
        # Requests follow each other without separators, one at a time
        while data := client.recv(1 << 16):
            request = json.loads(data)
            say({'id': request.get('id'), **self._answer(request)})

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request['execute']
        if name == 'qmp_capabilities':
            return {'return': {}}
        if name not in COMMANDS or \
                not self._knows and name == 'query-guest-memfd':
            return {'error': {'class': 'CommandNotFound', 'desc': 'no'}}
        return {'return': self._qemu.execute(name,
                                             request.get('arguments', {}))}

    def end(self) -> None:
        for end in (self.client, self._socket):
            if end:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                end.close()


@unittest.skipUnless((_LIBRARY / 'qemu/qmp').is_dir(),
                     "QEMU's Python library: scripts/build-qemu unpacks it")
class ServerTestCase(unittest.TestCase):
    """Tests of a script that connects with QEMU's own Python library.

    self.path is that of the monitor's socket.
    """

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / 'qmp'

    def serve(self, **options: bool) -> Server:
        server = Server(self.path, **options)
        server.start()
        self.addCleanup(server.end)
        return server
