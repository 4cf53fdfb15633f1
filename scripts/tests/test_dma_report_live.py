# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of scripts/shared-dma-report with QEMU's own Python library."""

import contextlib
import io
import os
import unittest
from unittest import mock

from first_light.host import Host
from tests.load_script import load_script
from tests.qmp_server import ServerTestCase


class LiveTest(ServerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.script = load_script('shared-dma-report')

    def report(self, *options: str) -> str:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            self.assertEqual(self.script.run(
                ['--qmp', str(self.path), '--qemu', '/bin/false', *options],
                Host()), 0)
        return output.getvalue()

    def test_queries(self) -> None:
        self.serve()
        report = self.report()
        self.assertIn('query-status: {\n "status": "running"', report)
        self.assertIn('query-guest-memfd: [\n {\n  "id": "pc.ram"', report)
        self.assertIn('x-query-vfio-dma: [\n', report)
        self.assertIn('query-kvm: ', report)

    def test_process_that_listens(self) -> None:
        self.serve()
        with mock.patch.object(self.script, 'process', lambda host, pid:
                               [f'facts of {pid}']):
            self.assertIn(f"== QEMU's process\n\nfacts of {os.getpid()}\n",
                          self.report())

    def test_other_process(self) -> None:
        self.serve()
        self.assertIn('process 4194305: does not exist\n',
                      self.report('--pid', '4194305'))

    def test_qemu_without_shared_dma(self) -> None:
        self.serve(knows=False)
        report = self.report()
        self.assertIn('\nquery-guest-memfd: no\n', report)
        self.assertIn('x-query-vfio-dma: [\n', report)

    def test_other_client(self) -> None:
        self.serve(greets=False)
        with mock.patch.object(self.script, '_GREETING_TIMEOUT', 0.5):
            self.assertIn('another client is connected', self.report())

    def test_not_a_monitor(self) -> None:
        server = self.serve()
        with mock.patch.object(server, '_serve', lambda client:
                               client.sendall(b'SSH-2.0\r\n')):
            self.assertIn('not a QMP monitor: ', self.report())

    def test_no_library(self) -> None:
        self.serve()
        with mock.patch.object(self.script, 'load_qmp',
                               side_effect=ImportError):
            report = self.report()
        self.assertIn("QEMU's Python library is missing: ", report)
        self.assertIn('use --qemu-python DIR\n', report)


if __name__ == '__main__':
    unittest.main()
