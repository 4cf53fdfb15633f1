# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the scripts' command lines: --help and wrong options."""

import contextlib
import functools
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from lib import options as shell_options

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = (ROOT / 'scripts', ROOT / 'tests/nested')
INIT = ROOT / 'tests/nested/init'

OPTION = re.compile(r"add_argument\('(-[a-z-]+)'")
# Options of shell scripts that need a value
WITH_VALUE = {'scripts/build-deb': ('--base', '--jobs'),
              'scripts/build-qemu': ('--base', '--qemu-source', '--jobs'),
              'scripts/check': ('--jobs', '--linux', '--report'),
              'scripts/demo': ('--base',),
              'scripts/export-series': ('--author', '--base'),
              'scripts/qemu-suites': ('--base', '--counts', '--jobs'),
              'tests/nested/build-kernel': ('--config', '--jobs',
                                            '--linux')}


def scripts() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in folder.iterdir()
                  if path.is_file() and os.access(path, os.X_OK))


def is_shell(path: Path) -> bool:
    return path.read_text(encoding='utf-8').startswith('#!/usr/bin/env bash')


def execute(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script that must end soon, and kill its children."""
    interpreter = () if is_shell(path) else (sys.executable,)
    command = [*map(str, interpreter), str(path), *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True) as child:
        try:
            stdout, stderr = child.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, child.returncode, stdout,
                                       stderr)


@functools.cache
def help_of(path: Path) -> subprocess.CompletedProcess[str]:
    return execute(path, '--help')


class Usage(unittest.TestCase):

    def test_there_are_scripts(self) -> None:
        names = {path.name for path in scripts()}
        self.assertLessEqual({'build-qemu', 'check', 'demo', 'dma-map-view',
                              'run', 'build-kernel'}, names)

    def test_help(self) -> None:
        for path in scripts():
            with self.subTest(path.name):
                result = help_of(path)
                self.assertEqual((result.returncode, result.stderr), (0, ''))
                self.assertRegex(result.stdout, rf'(?i)^usage: .*{path.name}')
                self.assertIn('--help', result.stdout)

    def test_help_has_each_option(self) -> None:
        seen = 0
        for path in scripts():
            source = inspect.getsource(shell_options.COMMANDS[path.name]) \
                if is_shell(path) else path.read_text(encoding='utf-8')
            text = help_of(path).stdout
            for option in OPTION.findall(source):
                with self.subTest(path.name, option=option):
                    seen += 1
                    self.assertRegex(text, rf'(?m)^ +{option}\b')
        self.assertGreater(seen, 40)

    def test_unknown_option(self) -> None:
        for path in scripts():
            with self.subTest(path.name):
                result = execute(path, '--nonsense', 'boot')
                self.assertGreater(result.returncode, 0)
                self.assertEqual(result.stdout, '')
                self.assertIn('--nonsense', result.stderr)
                self.assertNotIn('Traceback', result.stderr)

    def refuses(self, name: str, *arguments: str, why: str) -> None:
        result = execute(ROOT / name, *arguments)
        self.assertEqual((result.returncode, result.stdout), (2, ''))
        # argparse quotes choices, but not in newer versions of Python
        self.assertIn(why.replace("'", ''), result.stderr.replace("'", ''))

    def test_value_is_missing(self) -> None:
        self.assertEqual(
            {str(path.relative_to(ROOT)) for path in filter(is_shell,
                                                            scripts())},
            {*WITH_VALUE})
        for name, options in WITH_VALUE.items():
            for option in options:
                with self.subTest(name, option=option):
                    self.refuses(name, option,
                                 why=f'{option}: expected one argument')

    def test_empty_values_are_none(self) -> None:
        for name, option in (('scripts/build-qemu', '--qemu-source'),
                             ('scripts/qemu-suites', '--counts'),
                             ('tests/nested/build-kernel', '--config')):
            with self.subTest(name):
                self.refuses(name, f'{option}=',
                             why=f'{option}: must not be empty')

    def test_wrong_numbers(self) -> None:
        for number in ('0', '-1', 'x'):
            with self.subTest(number):
                self.refuses('scripts/check', f'--jobs={number}',
                             why='must be an integer >= 1')

    def test_unknown_version_of_linux(self) -> None:
        self.assertIn('6.12', shell_options.linux_versions())
        for name in ('scripts/check', 'tests/nested/build-kernel'):
            with self.subTest(name):
                self.refuses(name, '--linux', '5.4',
                             why="--linux: invalid choice: '5.4' (choose from "
                             "'6.12', '7.3')")

    def test_unknown_version_of_qemu(self) -> None:
        self.assertIn(shell_options.DEFAULT_BASE, shell_options.bases())
        for name in ('scripts/build-deb', 'scripts/build-qemu',
                     'scripts/qemu-suites'):
            with self.subTest(name):
                self.refuses(name, '--base', '9.2',
                             why="--base: invalid choice: '9.2' (choose from "
                             "'10.0', '10.2')")

    def build_qemu_from(self, version: str, *arguments: str) -> str:
        """Run build-qemu with a source that it refuses; return its error."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / 'VERSION').write_text(f'{version}\n')
            result = execute(ROOT / 'scripts/build-qemu', *arguments,
                             '--qemu-source', folder)
            self.assertEqual((result.returncode, result.stdout), (1, ''))
            return result.stderr.replace(folder, 'SOURCE')

    def test_source_of_another_version_of_qemu(self) -> None:
        for version in ('9.2.4', '10', '10.1.0', '10.20.0'):
            with self.subTest(version):
                self.assertIn(
                    f'error: SOURCE: is QEMU {version}, but there are only '
                    'patches for 10.0, 10.2\n', self.build_qemu_from(version))
        self.assertIn('error: SOURCE: is QEMU 10.0.13, but --base is 10.2\n',
                      self.build_qemu_from('10.0.13', '--base', '10.2'))

    def test_options_that_contradict(self) -> None:
        for options in (('--fast', '--sanitize'), ('--soak', '--fast'),
                        ('--long', '--fast'), ('--sanitize', '--soak', '1'),
                        ('--fast', 'split-type1'),
                        ('--report', 'file', '--fast')):
            with self.subTest(options):
                self.refuses('scripts/check', *options,
                             why='not allowed with argument')


class OtherSystems(unittest.TestCase):
    """Runs a copy of the scripts without Debian's package tools."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        shutil.copytree(ROOT / 'scripts', self.root / 'scripts')
        nested = self.root / 'tests/nested'
        nested.mkdir(parents=True)
        for path in (ROOT / 'tests/nested').glob('*kernel*'):
            if path.is_file():
                shutil.copy(path, nested)
        tools = self.root / 'tools'
        tools.mkdir()
        for path in Path('/usr/bin').iterdir():
            if path.name not in ('apt-get', 'dpkg-query'):
                (tools / path.name).symlink_to(path)

    def build_kernel(self, *arguments: str) \
            -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ['/bin/bash', self.root / 'tests/nested/build-kernel', *arguments],
            env={'PATH': str(self.root / 'tools'), 'HOME': str(self.root)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=60)

    def test_kernel_image_is_copied_by_hand(self) -> None:
        for version, arguments in (('6.12', ()), ('7.3', ('--linux', '7.3'))):
            with self.subTest(version):
                result = self.build_kernel(*arguments)
                self.assertEqual(result.returncode, 1)
                self.assertIn('this is not a Debian system', result.stderr)
                name = f'build/nested/linux-{version}/bzImage'
                image = self.root / name
                self.assertIn(f'Build Linux {version} with', result.stderr)
                self.assertIn(f'copy its image to {image}', result.stderr)
                image.write_bytes(b'kernel')
                result = self.build_kernel(*arguments)
                self.assertEqual((result.returncode, result.stderr), (0, ''))
                self.assertIn(f'using the existing {name}', result.stdout)
                self.assertEqual(image.read_bytes(), b'kernel')


class HasTestTest(unittest.TestCase):
    """Selection of a test by its name, from meson's list."""

    def has_test(self, name: str) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            meson = Path(folder) / 'pyvenv/bin/meson'
            meson.parent.mkdir(parents=True)
            # The second line is written after grep has read the first one
            meson.write_text('#!/bin/sh\necho "project:nested / first"\n'
                             'sleep 0.3\necho "project:nested / second"\n',
                             encoding='utf-8')
            meson.chmod(0o755)
            return subprocess.run(
                ['/bin/bash', '-c', 'set -euo pipefail; '
                 'source "$1/scripts/lib/meson-test.sh"; has_test "$2" "$3"',
                 'bash', ROOT, folder, name],
                env={**os.environ, 'build_dir': folder, 'cache_dir': folder,
                     'repo_root': str(ROOT)},
                check=False, timeout=60).returncode == 0

    def test_finds_tests(self) -> None:
        self.assertTrue(self.has_test('first'))
        self.assertTrue(self.has_test('second'))

    def test_needs_the_whole_name(self) -> None:
        self.assertFalse(self.has_test('firs'))


class InitTest(unittest.TestCase):
    """/init must refuse to run on a user's machine, where it would mount."""

    def test_init_is_not_executable(self) -> None:
        self.assertFalse(os.access(INIT, os.X_OK))

    def test_refuses(self) -> None:
        # This user could not mount, even if the check were missing
        nobody = 65534 if os.geteuid() == 0 else None
        with INIT.open(encoding='utf-8') as script:
            result = subprocess.run(
                ['/bin/sh', '-s', '--', '--help'], stdin=script, cwd='/',
                capture_output=True, text=True, check=False, timeout=60,
                user=nobody)
        self.assertEqual((result.returncode, result.stdout), (2, ''))
        self.assertRegex(result.stderr, '^init is /init of .*\n$')


if __name__ == '__main__':
    unittest.main()
