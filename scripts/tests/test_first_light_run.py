# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of scripts/first-light as a whole, with QEMU's own Python library.

The machine is a folder, and QEMU is a program that behaves like it.
"""

import contextlib
import io
import json
import os
import signal
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from first_light import machine
from first_light.trial import Pace
from first_light.tee import SNP
from tests.fake_host import ADDRESS, FakeHost
from tests.load_script import load_script

ROOT = Path(__file__).resolve().parent.parent.parent
LIBRARY = ROOT / 'build/qemu-src/python'
STUB = Path(__file__).resolve().parent / 'stub_qemu.py'
PACE = Pace(interval=0.05, plug=5, reset=5, release=0.1)


@unittest.skipUnless((LIBRARY / 'qemu/qmp').is_dir(),
                     "QEMU's Python library: scripts/build-qemu unpacks it")
class RunTest(unittest.TestCase):

    def setUp(self) -> None:
        self.script = load_script('first-light')
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.fake = FakeHost(self.folder / 'host', SNP)
        qemu = self.folder / 'qemu'
        qemu.write_text(f'#!/bin/sh\nexec {sys.executable} {STUB} "$@"\n',
                        encoding='utf-8')
        qemu.chmod(0o755)
        assert SNP.firmware_guid
        (self.folder / 'OVMF.fd').write_bytes(
            bytes(65520) + SNP.firmware_guid.bytes_le)
        (self.folder / 'kernel').write_bytes(b'kernel')
        self.report = self.folder / 'report'

    def run_script(self, *more: str, boots: bool = True) -> tuple[int, str]:
        """Run the script; return its status and output."""
        arguments = [f'--qemu={self.folder}/qemu', f'--host={ADDRESS}',
                     f'--firmware={self.folder}/OVMF.fd', '--watch=1',
                     f'--report={self.report}', f'--qemu-python={LIBRARY}']
        if boots:
            arguments.append(f'--kernel={self.folder}/kernel')
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = self.script.run([*arguments, *more], self.fake.host,
                                     PACE)
        return status, output.getvalue()

    def files(self) -> set[str]:
        return {path.name for path in self.report.iterdir()}

    def data(self) -> dict[str, Any]:
        return json.loads((self.report / 'report.json').read_text('utf-8'))

    def failures(self, findings: list[dict[str, Any]]) -> list[str]:
        return [finding['name'] for finding in findings
                if finding['result'] == 'fail']

    def test_both_backends(self) -> None:
        status, output = self.run_script('--replug', '--reset')
        self.assertEqual(status, 0, output)
        self.assertEqual(self.files(), {
            'report.json', 'report.txt', 'console-iommufd.txt',
            'console-type1.txt', 'qemu-iommufd.txt', 'qemu-type1.txt'})
        data = self.data()
        self.assertEqual([trial['backend'] for trial in data['trials']],
                         ['iommufd', 'type1'])
        for trial in data['trials']:
            self.assertEqual(trial['exit-status'], 0)
            self.assertEqual(
                {finding['result'] for finding in trial['findings']},
                {'pass'})
            names = [finding['name'] for finding in trial['findings']]
            self.assertLessEqual({'mappings', 'unplug', 'plug', 'reset'},
                                 {*names})
            self.assertTrue(trial['samples'])
            # Temporary files of QEMU are in the report's folder, too
            self.assertIn(f'TMPDIR is {self.report}', trial['qemu-output'])
        self.assertEqual(data['qemu'], 'QEMU emulator version 10.0.13 (stub)')
        self.assertEqual(data['linux'], '6.17.2-amd64')
        self.assertEqual(len(data['firmware-sha256']), 64)
        text = (self.report / 'report.txt').read_text('utf-8')
        self.assertIn('mappings: 64 MiB in 1 extents, 1 calls to map', text)
        self.assertIn('-object sev-snp-guest,id=cgs0,cbitpos=51', text)

    def test_one_backend(self) -> None:
        status, output = self.run_script('--backend', 'type1')
        self.assertEqual((status, len(self.data()['trials'])), (0, 1), output)

    def test_no_device(self) -> None:
        arguments = [f'--qemu={self.folder}/qemu', '--watch=1',
                     f'--firmware={self.folder}/OVMF.fd',
                     f'--kernel={self.folder}/kernel',
                     f'--report={self.report}', f'--qemu-python={LIBRARY}']
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(self.script.run(arguments, self.fake.host, PACE),
                             0)
        self.assertEqual(len(self.data()['trials']), 1)

    def test_kernel_log_of_the_host(self) -> None:
        self.fake.write('dev/kmsg', '6,1,1,-;ccp: SEV-SNP API:1.55\n'
                        '6,2,2,-;usb 1-1: new\n')
        self.run_script()
        self.assertEqual(self.data()['kernel-log'], ['ccp: SEV-SNP API:1.55'])

    def test_qemu_does_not_start(self) -> None:
        with mock.patch.dict(os.environ, STUB_QEMU='start'):
            status, output = self.run_script()
        self.assertEqual(status, 1)
        self.assertIn('cbitpos check failed', output)
        for trial in self.data()['trials']:
            self.assertEqual(self.failures(trial['findings']),
                             ['start of QEMU'])
        self.assertEqual(len(self.data()['trials']), 2)

    def test_qemu_does_not_end(self) -> None:
        with mock.patch.dict(os.environ, STUB_QEMU='hang'), \
                mock.patch.object(machine, '_EXIT_TIMEOUT', 0.5):
            status, _ = self.run_script('--backend', 'iommufd')
        self.assertEqual(status, 1)
        trial, = self.data()['trials']
        self.assertEqual(self.failures(trial['findings']),
                         ['end of QEMU', 'conversions'])
        self.assertIsNone(trial['exit-status'])

    def test_interrupted(self) -> None:
        console = self.report / 'console-iommufd.txt'
        qemu: list[Path] = []

        def interrupt() -> None:
            while not console.exists() or not console.read_text('utf-8'):
                time.sleep(0.05)
            # The program that behaves as QEMU writes its process ID
            process = Path('/proc') / console.read_text('utf-8').strip()
            if process.is_dir():
                qemu.append(process)
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        self.addCleanup(thread.join)
        status, output = self.run_script('--watch', '600')
        self.assertEqual(status, 1)
        self.assertIn('FAIL    session: interrupted', output)
        trial, = self.data()['trials']
        self.assertTrue(trial['samples'])
        self.assertEqual([path.is_dir() for path in qemu], [False])

    def test_nothing_to_boot(self) -> None:
        status, output = self.run_script(boots=False)
        self.assertEqual(status, 0)
        self.assertIn('No guest was started: there is no --kernel', output)
        self.assertEqual(self.files(), {'report.json', 'report.txt'})

    def test_host_is_not_ready(self) -> None:
        self.fake.remove('dev/sev')
        status, output = self.run_script()
        self.assertEqual(status, 1)
        self.assertIn('No guest was started, because checks failed', output)
        self.assertNotIn('trials', self.data())
        self.assertEqual(self.failures(self.data()['findings']), ['/dev/sev'])

    def test_force(self) -> None:
        self.fake.remove('dev/sev')
        status, _ = self.run_script('--force')
        self.assertEqual(status, 1)
        self.assertEqual(len(self.data()['trials']), 2)

    def test_dry_run(self) -> None:
        status, output = self.run_script('--dry-run', '--', '-S')
        self.assertEqual(status, 0)
        self.assertFalse(self.report.exists())
        self.assertEqual(output.count('-S\n'), 2)
        self.assertIn('iommufd=iommufd0', output)

    def test_wrong_arguments(self) -> None:
        for more, words in (
                (['--memory', '4'], '"4" must be a size such as 4G'),
                (['--host', '1.0'], '"1.0" must be a PCI address'),
                (['--host', ADDRESS], 'the same device twice'),
                (['--cpus', '0'], 'must be an integer >= 1')):
            errors = io.StringIO()
            with self.subTest(words), self.assertRaises(SystemExit) as end, \
                    contextlib.redirect_stderr(errors):
                self.run_script(*more)
            self.assertEqual(end.exception.code, 2)
            self.assertIn(words, errors.getvalue())

    def test_no_library(self) -> None:
        with mock.patch.object(self.script, 'load_qmp',
                               side_effect=ImportError), \
                self.assertRaisesRegex(self.script.UsageError,
                                       'use --qemu-python'):
            self.run_script()

    def test_unknown_processor(self) -> None:
        self.fake.write('proc/cpuinfo', 'vendor_id\t: Other\n')
        with self.assertRaisesRegex(self.script.UsageError, '--tee'):
            self.run_script()


if __name__ == '__main__':
    unittest.main()
