# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of reading a kernel's image."""

import tempfile
import unittest
from pathlib import Path

from harness.initramfs import MissingError
from harness.kernel import kernel_release


class ReleaseTest(unittest.TestCase):

    def _release(self, magic: bytes) -> str:
        image = bytearray(0x400)
        image[0x202:0x206] = magic
        image[0x20e:0x210] = (0x100).to_bytes(2, 'little')
        version = b'7.3.4 (l1@l1) #1 SMP\0'
        image[0x300:0x300 + len(version)] = version
        with tempfile.NamedTemporaryFile() as file:
            file.write(image)
            file.flush()
            return kernel_release(Path(file.name))

    def test_release_of_kernel_image(self) -> None:
        self.assertEqual(self._release(b'HdrS'), '7.3.4')

    def test_other_file_is_rejected(self) -> None:
        with self.assertRaises(MissingError):
            self._release(b'\0\0\0\0')
