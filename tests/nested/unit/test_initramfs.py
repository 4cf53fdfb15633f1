# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the archives, which cpio must accept."""

import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness.initramfs import Archive, run_image


@unittest.skipUnless(shutil.which('cpio'), 'there is no cpio')
class ArchiveTest(unittest.TestCase):

    def test_unpack(self) -> None:
        archive = Archive()
        archive.add_file('a/b/odd', b'12345')
        archive.add_file('/a/b/empty', b'')
        archive.add_file('top', bytes(range(256)))
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(['cpio', '-id', '--quiet'], input=archive.finish(),
                           cwd=folder, check=True)
            root = Path(folder)
            self.assertEqual((root / 'a/b/odd').read_bytes(), b'12345')
            self.assertEqual((root / 'a/b/empty').read_bytes(), b'')
            self.assertEqual((root / 'top').read_bytes(), bytes(range(256)))
            self.assertTrue((root / 'a/b').is_dir())


class RunImageTest(unittest.TestCase):

    def test_second_archive_is_aligned(self) -> None:
        first = Archive()
        first.add_file('one', b'1')
        with tempfile.TemporaryDirectory() as folder:
            base, out = Path(folder) / 'base', Path(folder) / 'out'
            base.write_bytes(first.finish())
            run_image(base, {'two': b'22'}, out)
            data = out.read_bytes()
            self.assertTrue(data.startswith(base.read_bytes()))
            second = data[base.stat().st_size:]
            self.assertTrue(second.startswith(b'070701'))
            self.assertEqual(base.stat().st_size % 4, 0)
            self.assertIn(b'two\0', second)
