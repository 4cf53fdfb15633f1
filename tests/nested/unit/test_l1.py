# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the level 1 machine, with a script in place of its QEMU."""

import sys
import tempfile
import unittest
from pathlib import Path

from harness.l1 import Icount, L1Error, L1Machine

# Writes to the console, executes EARLY, waits for connections to all ports,
# and executes BODY
FAKE_QEMU = '''#!{python}
import os, re, socket, sys
text = ' '.join(sys.argv)
with open(re.search(r'file:(\\S+)', text)[1], 'w') as console:
    console.write('kernel: how it ended\\n')
print('qemu: what it said', file=sys.stderr, flush=True)
{early}
ports = {{}}
for name, path in re.findall(r'socket,id=(\\w+)\\S*path=(\\S+)', text):
    ports[name] = socket.socket(socket.AF_UNIX)
    ports[name].bind(path)
    ports[name].listen()
connections = {{name: port.accept()[0] for name, port in ports.items()}}
control = connections['control']
{body}
'''


class L1Test(unittest.TestCase):

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def start(self, body: str = '', early: str = '') -> L1Machine:
        qemu = self.folder / 'qemu'
        qemu.write_text(FAKE_QEMU.format(python=sys.executable, early=early,
                                         body=body))
        qemu.chmod(0o755)
        machine = L1Machine(qemu, Path('kernel'), Path('initrd'), self.folder,
                            128, Icount.OFF, 0)
        self.addCleanup(machine.kill)
        return machine

    def test_crash_before_ports_open(self) -> None:
        with self.assertRaisesRegex(
                L1Error, 'does not start: QEMU ended with status -6\n'
                'qemu: what it said\n\nkernel: how it ended'):
            self.start(early='os.abort()')

    def test_crash_during_boot(self) -> None:
        with self.assertRaisesRegex(
                L1Error, 'does not boot: QEMU ended with status -6\n'
                'qemu: what it said\n\nkernel: how it ended'):
            self.start('os.abort()')

    def test_hang(self) -> None:
        machine = self.start("control.send(b'@ready\\n')\ncontrol.recv(1)\n"
                             'while True: control.recv(1)')
        with self.assertRaisesRegex(L1Error, '^level 1: no answer to: true$'):
            machine.run('true', 0.1)
        self.assertEqual(machine.describe(), 'QEMU is running\n'
                         'qemu: what it said\n\nkernel: how it ended\n')
