# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of scripts/dma-map-view with QEMU's own Python library."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path
from typing import Any

from dma_map.query import read_session
from dma_map.svg import picture
from tests.qmp_server import ServerTestCase

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / 'scripts/dma-map-view'


class LiveTest(ServerTestCase):
    def run_tool(self, *options: str) -> tuple[int, str]:
        result = subprocess.run(
            [sys.executable, str(TOOL), str(self.path), *options],
            capture_output=True, text=True, timeout=120, check=False)
        return result.returncode, result.stderr

    def test_no_socket(self) -> None:
        status, words = self.run_tool()
        self.assertEqual(status, 1)
        self.assertIn('No such file or directory. Start QEMU', words)

    def test_socket_in_use(self) -> None:
        self.serve(greets=False)
        status, words = self.run_tool()
        self.assertEqual(status, 1)
        self.assertIn('Is another client connected?', words)

    def test_qemu_without_query_guest_memfd(self) -> None:
        self.serve(knows=False)
        status, words = self.run_tool()
        self.assertEqual(status, 1)
        self.assertIn('this QEMU has no query-guest-memfd', words)

    def test_svg_and_record(self) -> None:
        self.serve()
        still, kept = (self.path.with_suffix(name)
                       for name in ('.svg', '.jsonl'))
        self.assertEqual(self.run_tool('--svg', str(still), '--record',
                                       str(kept)), (0, ''))
        session = read_session(kept)
        self.assertEqual(session.guest, {'name': 'test guest'})
        self.assertEqual(len(session.snapshots), 1)
        self.assertEqual(still.read_text(encoding='utf-8'),
                         picture(session.snapshots[0], session.guest))

    def in_terminal(self, end: Any) -> tuple[int, str]:
        """Run the tool in a terminal until it has drawn, then end it."""
        server = self.serve()
        pid, terminal = pty.fork()
        if not pid:
            os.environ.update(TERM='xterm-256color', LC_ALL='C.UTF-8')
            os.execv(sys.executable, [sys.executable, str(TOOL),
                                      str(self.path), '--interval', '0.1'])
        shown = ''
        limit = time.monotonic() + 60
        ended = False
        while time.monotonic() < limit:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                shown += os.read(terminal, 1 << 16).decode(errors='replace')
            except OSError:
                break
            if not ended and 'vfio-container' in shown:
                ended = True
                end(server, pid, terminal)
        os.close(terminal)
        if not time.monotonic() < limit:
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown

    def check_restored(self, shown: str) -> None:
        self.assertEqual(shown.count('\x1b[?1049h'),
                         shown.count('\x1b[?1049l'))
        self.assertNotIn('Traceback', shown)

    def test_quit_key(self) -> None:
        status, shown = self.in_terminal(
            lambda server, pid, terminal: os.write(terminal, b'q'))
        self.assertEqual(status, 0, shown)
        self.check_restored(shown)
        self.assertTrue(re.search('█', shown))

    def test_interrupt_key(self) -> None:
        status, shown = self.in_terminal(
            lambda server, pid, terminal: os.write(terminal, b'\x03'))
        self.assertEqual(status, 0, shown)
        self.check_restored(shown)

    def test_qemu_ends(self) -> None:
        status, shown = self.in_terminal(
            lambda server, pid, terminal: server.end())
        self.assertEqual(status, 0, shown)
        self.check_restored(shown)
        self.assertIn('QEMU has ended', shown.rpartition('\x1b[?1049l')[2])


if __name__ == '__main__':
    unittest.main()
