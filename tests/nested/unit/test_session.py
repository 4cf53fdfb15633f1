# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of finding the files that must be built first."""

import tempfile
import unittest
from pathlib import Path

from harness.initramfs import MissingError
from harness.session import find_built

FILES = ('qemu/qemu-system-x86_64', 'qemu-src/python',
         'core/tests/nested/nested-firmware.bin',
         'core/tests/nested/loader/linux-loader.bin',
         'core/tests/nested/audit-pages/audit-pages',
         'core/tests/nested/kernel-edge/kernel-edge.so',
         'nested/linux-7.3/bzImage')


class BuiltTest(unittest.TestCase):
    """Selection of the kernel and of QEMU by their versions."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.build = Path(folder.name)
        for name in FILES:
            path = self.build / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def test_kernel_of_this_version(self) -> None:
        self.assertEqual(find_built(self.build, '7.3').kernel,
                         self.build / 'nested/linux-7.3/bzImage')

    def test_kernel_that_is_not_built(self) -> None:
        with self.assertRaisesRegex(
                MissingError, 'linux-6.12/bzImage is missing: '
                '"tests/nested/build-kernel --linux 6.12" builds it'):
            find_built(self.build, '6.12')

    def test_unknown_version(self) -> None:
        with self.assertRaisesRegex(MissingError, 'Linux 5.4 is unknown'):
            find_built(self.build, '5.4')

    def test_qemu_of_the_guest(self) -> None:
        default = self.build / FILES[0]
        other = self.build / 'qemu-10.2' / FILES[0]
        self.assertEqual(find_built(self.build, '7.3').guest_qemu, default)
        with self.assertRaisesRegex(
                MissingError, 'qemu-10.2/qemu/qemu-system-x86_64 is missing: '
                '"scripts/build-qemu --base 10.2" builds it'):
            find_built(self.build, '7.3', base='10.2')
        other.parent.mkdir(parents=True)
        other.touch()
        built = find_built(self.build, '7.3', base='10.2')
        self.assertEqual((built.qemu, built.guest_qemu), (default, other))

    def test_unknown_version_of_qemu(self) -> None:
        with self.assertRaisesRegex(MissingError, 'QEMU 9.2 is unknown'):
            find_built(self.build, '7.3', base='9.2')

    def test_image_replaces_version(self) -> None:
        image = self.build / FILES[0]
        self.assertEqual(find_built(self.build, '6.12', image).kernel, image)
        with self.assertRaises(MissingError):
            find_built(self.build, '7.3', self.build / 'none')
