# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of how scripts/build-deb changes Debian's source package."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from lib.deb_control import ControlError, keep_packages, replace_maintainer

ROOT = Path(__file__).resolve().parent.parent.parent
CONTROL = '''\
# a comment of the source package
Source: qemu
:debian:Maintainer: Debian <debian@example.org>
:ubuntu:Maintainer: Ubuntu <ubuntu@example.org>
:ubuntu:XSBC-Original-Maintainer: Debian <debian@example.org>
Build-Depends: meson,
# --enable-this
 libthis-dev

Package: qemu-system-x86
Architecture: any
Depends: qemu-system-common (= ${binary:Version}),

# a comment of the package
Package: qemu-user
Architecture: any

:ubuntu:Package: qemu-block-supplemental
:ubuntu:Architecture: amd64

Package: qemu-system-common
Architecture: any

#Package: qemu-system-for-host
#Architecture: any
'''


def run_shell(script: str, *arguments: str) -> str:
    """Run functions of debian-source.sh and return their output."""
    return subprocess.run(
        ['/bin/bash', '-c', 'set -euo pipefail; source '
         f'"$0/scripts/lib/debian-source.sh"; {script}', str(ROOT),
         *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        check=True, text=True, timeout=300).stdout


class ControlTest(unittest.TestCase):

    def test_drops_other_packages(self) -> None:
        text = keep_packages(CONTROL, ['qemu-system-common',
                                       'qemu-system-x86'])
        self.assertEqual(
            text, CONTROL.partition('# a comment of the package')[0]
            + 'Package: qemu-system-common\nArchitecture: any\n')

    def test_missing_package(self) -> None:
        with self.assertRaisesRegex(ControlError, 'has no package qemu-no$'):
            keep_packages(CONTROL, ['qemu-system-x86', 'qemu-no'])

    def test_replaces_the_maintainer_of_each_vendor(self) -> None:
        text = replace_maintainer(CONTROL, 'We <we@example.org>')
        self.assertEqual(text.splitlines()[2:4], [
            ':debian:Maintainer: We <we@example.org>',
            ':ubuntu:Maintainer: We <we@example.org>'])
        self.assertEqual(text.splitlines()[4:], CONTROL.splitlines()[4:])

    def test_no_maintainer(self) -> None:
        with self.assertRaisesRegex(ControlError, 'has no maintainer'):
            replace_maintainer('Source: qemu\n', 'We <we@example.org>')


class SourceTest(unittest.TestCase):

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def version(self, debians: str) -> str:
        dsc = self.folder / 'qemu.dsc'
        dsc.write_text(f'Source: qemu\nVersion: {debians}\n'
                       'Standards-Version: 4.7.2\n', encoding='utf-8')
        return run_shell('set_package_version "$1"; echo "$qemu_version"',
                         str(dsc)).strip()

    @unittest.skipUnless(shutil.which('dpkg'), 'dpkg is missing')
    def test_version_is_between_debians_versions(self) -> None:
        for debians, later in (
                ('1:10.0.13+ds-0+deb13u1', ('1:10.0.13+ds-0+deb13u2',
                                            '1:10.0.13+ds-0+deb13u1.1',
                                            '1:10.0.14+ds-0+deb13u1')),
                ('1:10.2.2+ds-1', ('1:10.2.2+ds-1.1', '1:10.2.2+ds-2'))):
            ours = self.version(debians)
            order = [debians, f'{debians}+b2', ours]
            pairs = [*zip(order, order[1:]), *((ours, next) for next in later)]
            for lower, higher in pairs:
                with self.subTest(lower=lower, higher=higher):
                    subprocess.run(['dpkg', '--compare-versions', lower, 'lt',
                                    higher], check=True, timeout=60)

    @unittest.skipUnless(shutil.which('patch'), 'patch is missing')
    def test_patch_adds_our_files(self) -> None:
        patch = self.folder / 'patch'
        tree = self.folder / 'tree'
        tree.mkdir()
        names = run_shell('write_files_patch "$1"; packaged_files',
                          str(patch)).splitlines()
        with patch.open('rb') as text:
            subprocess.run(['patch', '-s', '-p1', '-F0'], cwd=tree, stdin=text,
                           check=True, timeout=300)
        made = sorted(str(path.relative_to(tree)) for path in tree.rglob('*')
                      if path.is_file())
        self.assertEqual(made, sorted(names))
        self.assertLessEqual({'hw/vfio/dma-layout.cc', 'qapi/shared-dma.json',
                              'docs/system/shared-dma.rst'}, {*made})
        self.assertFalse([name for name in made
                          if name.startswith('target/i386/tcg/')])
        for name in made:
            with self.subTest(name):
                self.assertEqual((tree / name).read_bytes(),
                                 (ROOT / name).read_bytes())

    def test_packages_that_are_installed_have_our_docs(self) -> None:
        listed = (ROOT / 'packaging/debian/qemu/qemu-system-common.docs')
        names = [line for line in
                 listed.read_text(encoding='utf-8').splitlines()
                 if not line.startswith('#')]
        self.assertTrue(names)
        packaged = run_shell('packaged_files').splitlines()
        self.assertLessEqual({*names}, {*packaged})

    def test_patches_of_the_test_bench_are_left_out(self) -> None:
        output = run_shell('use_base 10.0; list_debian_patches')
        patches = [os.path.relpath(line, ROOT) for line in output.splitlines()]
        self.assertEqual({os.path.dirname(patch) for patch in patches},
                         {'patches/qemu-10.0'})


if __name__ == '__main__':
    unittest.main()
