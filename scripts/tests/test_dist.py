# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of release tarballs and of the project's version."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from lib.version import ROOT, VersionError, commit_version, project_version

DIST = ROOT / 'scripts/dist'
# Settings that would change what git writes
USER_CONFIG = '[tar]\n\tumask = 0077\n[core]\n\tautocrlf = true\n'


def run(*command: str | Path, cwd: Path, **environment: str) \
        -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env={**os.environ, **environment},
                          stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, timeout=600)


class FolderTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


@unittest.skipUnless(shutil.which('git'), 'git is missing')
class VersionTest(FolderTest):
    """The version, in a repository with one commit."""

    def setUp(self) -> None:
        super().setUp()
        (self.folder / 'meson.build').write_text(
            "project('a', 'cpp',\n        version: '1.2',\n"
            "        meson_version: '>=1.0')\n", encoding='utf-8')
        self.git('init', '-q')
        self.git('add', '.')
        self.git('-c', 'user.name=a', '-c', 'user.email=a@localhost',
                 'commit', '-q', '-m', 'a', '--date=2026-01-01T00:00:00Z')
        self.commit = self.git('rev-parse', 'HEAD').strip()

    def git(self, *arguments: str) -> str:
        # An hour before midnight in UTC is the next day further east
        result = run('git', *arguments, cwd=self.folder,
                     GIT_COMMITTER_DATE='2026-01-01T23:00:00Z',
                     GIT_CONFIG_GLOBAL=os.devnull)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_commit(self) -> None:
        self.assertEqual(project_version(self.folder),
                         f'1.2+git20260101.{self.commit[:12]}')

    def test_time_zone_does_not_matter(self) -> None:
        result = run(sys.executable, '-c', 'import sys; '
                     'from pathlib import Path; '
                     'from lib.version import commit_version; '
                     'print(commit_version(Path(sys.argv[1]), "HEAD"))',
                     self.folder, cwd=ROOT / 'scripts', TZ='XYZ-9')
        self.assertEqual(result.stdout.strip(),
                         f'1.2+git20260101.{self.commit[:12]}')

    def test_release(self) -> None:
        self.git('tag', 'v1.1')
        self.assertIn('+git', project_version(self.folder))
        self.git('tag', 'v1.2')
        self.assertEqual(project_version(self.folder), '1.2')

    def test_changes(self) -> None:
        with (self.folder / 'meson.build').open('a') as file:
            file.write('#\n')
        self.assertEqual(project_version(self.folder),
                         f'1.2+git20260101.{self.commit[:12]} with changes')
        self.assertNotIn('changes', commit_version(self.folder, 'HEAD'))

    def test_tarball(self) -> None:
        shutil.rmtree(self.folder / '.git')
        with self.assertRaisesRegex(VersionError, 'not a git checkout'):
            project_version(self.folder)
        (self.folder / 'VERSION').write_text('1.2\n', encoding='ascii')
        self.assertEqual(project_version(self.folder), '1.2')


@unittest.skipUnless((ROOT / '.git').exists() and shutil.which('git'),
                     'not a git checkout, or git is missing')
class DistTest(FolderTest):
    """The tarball of this repository's last commit."""

    def dist(self, *options: str, **environment: str) \
            -> subprocess.CompletedProcess[str]:
        return run(sys.executable, DIST, *options, cwd=Path('/'),
                   **environment)

    def make(self, name: str, **environment: str) -> Path:
        """Make a tarball in a folder of this name."""
        result = self.dist('--output', str(self.folder / name), **environment)
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        tarball, checksum = map(Path, result.stdout.splitlines())
        self.assertEqual(sorted((self.folder / name).iterdir()),
                         [tarball, checksum])
        return tarball

    def unpack(self) -> Path:
        tarball = self.make('dist')
        result = run('tar', '-xf', tarball, cwd=self.folder)
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        return self.folder / tarball.name.removesuffix('.tar.gz')

    def test_has_all_files(self) -> None:
        tree = self.unpack()
        tracked = run('git', 'ls-tree', '-r', '--name-only', '-z', 'HEAD',
                      cwd=ROOT).stdout.split('\0')[:-1]
        self.assertGreater(len(tracked), 100)
        self.assertEqual(
            sorted(str(path.relative_to(tree)) for path in tree.rglob('*')
                   if path.is_symlink() or path.is_file()),
            sorted([*tracked, 'VERSION']))
        self.assertEqual(project_version(tree), commit_version(ROOT, 'HEAD'))
        self.assertTrue(os.access(tree / 'scripts/build-qemu', os.X_OK))

    def test_same_bytes(self) -> None:
        config = self.folder / 'config'
        config.write_text(USER_CONFIG, encoding='ascii')
        first = self.make('first')
        second = self.make('second', GIT_CONFIG_GLOBAL=str(config),
                           TZ='XYZ-9', LC_ALL='C', HOME=str(self.folder))
        self.assertEqual(first.read_bytes(), second.read_bytes())

    def test_checksum(self) -> None:
        tarball = self.make('dist')
        self.assertEqual(
            Path(f'{tarball}.sha256').read_text(encoding='ascii'),
            f'{hashlib.sha256(tarball.read_bytes()).hexdigest()}  '
            f'{tarball.name}\n')

    def test_builds(self) -> None:
        """Configure the unpacked tree, and compile a part of it."""
        tree = self.unpack()
        build = self.folder / 'objects'
        result = run('/usr/bin/meson', 'setup', '-Doptimization=0',
                     '-Ddebug=false', build, tree, cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stdout)
        result = run('ninja', '-C', build, 'tests/gtest/page-state-map-test',
                     cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stdout)
        result = run(build / 'tests/gtest/page-state-map-test',
                     cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_unknown_commit(self) -> None:
        result = self.dist('--commit', 'nonsense', '--output',
                           str(self.folder / 'dist'))
        self.assertEqual((result.returncode, result.stdout), (1, ''))
        self.assertIn("'nonsense'", result.stderr)
        self.assertFalse((self.folder / 'dist').exists())


if __name__ == '__main__':
    unittest.main()
