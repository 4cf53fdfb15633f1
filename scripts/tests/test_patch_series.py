# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the export of patch series: cutting files, commits, comparison."""

import os
import shutil
import subprocess
import tempfile
import textwrap
import unittest
from pathlib import Path

from patch_series import checkpatch, cut
from patch_series.export import Exporter, message_of_patch
from patch_series.plan import (Completion, Edit, Extension, Plan,
                               read_plan)
from patch_series.problem import Problem
from patch_series.repository import Repository

ROOT = Path(__file__).resolve().parent.parent.parent
AUTHOR = 'An Author <author@example.org>'

MESON = """\
# Included by meson.build

first = files(
  '../one.c',
  '../two.c',
)

second = files(
  '../two.c',
)

test('test-two',
     executable('test-two', files('test-two.c')))

foreach name : [
  'test-one',
  'test-two',
]
endforeach
"""

PLAN = """\
date = '2026-01-01T00:00:00+0000'
maintainers_before = 'Last section'
is_what_project_builds = true
growing = ['own/meson.build']

[left_out]
'own/cxx.cc' = 'C++'

[differs]
'MAINTAINERS' = 'a section'

[[rename]]
old = 'OldName'
new = 'NewName'

[[commit]]
patches = ['patches/hook.patch']

[[commit]]
subject = 'own: add one'
body = 'Reason one.'
files = ['own/meson.build', 'own/one.c']

[[commit]]
subject = 'own: add two'
body = 'Reason two.'
files = ['own/two.c']

[[commit.completes]]
file = 'own/one.c'
text = "int two(void);\\n"
"""

HOOK = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: Someone <someone@example.org>
Date: Thu, 1 Jan 2026 00:00:00 +0000
Subject: [PATCH] qemu: call the hook with a subject that is longer than
 a line

Why it is called.

Signed-off-by: Someone <someone@example.org>

diff --git a/qemu.c b/qemu.c
--- a/qemu.c
+++ b/qemu.c
@@ -1 +1,2 @@
 int qemu;
+int hook;
"""


class CutTest(unittest.TestCase):

    def test_list_of_no_files(self) -> None:
        later = ['a/one.c', 'a/two.c', 'a/test-one.c', 'a/test-two.c']
        self.assertEqual(cut.cut_list(MESON, [], later),
                         '# Included by meson.build\n')

    def test_list_of_some_files(self) -> None:
        self.assertEqual(
            cut.cut_list(MESON, ['a/one.c', 'a/test-one.c'],
                         ['a/two.c', 'a/test-two.c']),
            textwrap.dedent("""\
                # Included by meson.build

                first = files(
                  '../one.c',
                )

                foreach name : [
                  'test-one',
                ]
                endforeach
                """))

    def test_list_of_all_files(self) -> None:
        self.assertEqual(cut.cut_list(MESON, ['a/one.c', 'a/two.c'], []),
                         MESON)

    def test_extension(self) -> None:
        text = textwrap.dedent("""\
            # A header

            # system/one.c
            one(int x) "%d"

            # hw/two.c
            two(int x) "%d"
            """)
        extension = Extension('hw/trace-events', 'system/own/trace-events',
                              'hw/')
        self.assertEqual(
            cut.extension_of(extension, text, ['system/one.c'], ['hw/two.c']),
            '')
        self.assertEqual(
            cut.extension_of(extension, text, ['hw/two.c'], ['system/one.c']),
            '\n# hw/two.c\ntwo(int x) "%d"\n')

    def test_paths_of_extension(self) -> None:
        self.assertEqual(
            cut.extension_of(Extension('system/list', 'system/own/list'),
                             "files(\n  '../one.c',\n  '../two.c',\n)\n",
                             ['system/one.c'], ['system/two.c']),
            "\nfiles(\n  'one.c',\n)\n")

    def test_maintainers(self) -> None:
        section = 'Title\nF: a/*\nF: b/c.c\nF: d/\n'
        self.assertEqual(cut.cut_maintainers(section, ['a/x.c', 'd/e/f']),
                         'Title\nF: a/*\nF: d/\n')
        self.assertEqual(cut.unmatched(section, ['a/x/y.c', 'b/c.c']),
                         ['a/x/y.c'])

    def test_parts_of_a_file(self) -> None:
        text = 'one\n\n# @Two:\ntwo\n\nthree\n'
        self.assertEqual(
            cut.without(text, Completion('f', text='one\n', before='1\n')),
            '1\n\n# @Two:\ntwo\n\nthree\n')
        self.assertEqual(
            cut.without(text, Completion('f', paragraphs=['# @Two:'])),
            'one\n\nthree\n')

    def test_part_that_is_not_there(self) -> None:
        for completion in (Completion('f', text='four'),
                           Completion('f', text='e'),
                           Completion('f', paragraphs=['four'])):
            with self.subTest(completion), self.assertRaises(Problem):
                cut.without('one\n\nthree\n', completion)

    def test_headers_that_a_file_needs(self) -> None:
        headers = {'a.h': r'A\w*', 'b.h': 'B'}
        self.assertEqual(
            cut.include_needed('#include "x.h"\nABC BC\n', 'x.h', headers),
            '#include "a.h"\nABC BC\n')
        self.assertEqual(
            cut.include_needed('#include "x.h"\n#include "b.h"\nB\n', 'x.h',
                               headers), '#include "b.h"\nB\n')

    def test_newest_version(self) -> None:
        self.assertEqual(
            cut.newest_version('a\n#if OLD\nb\n#else\nc\n#endif\nd\n',
                               '#if OLD'), 'a\nc\nd\n')

    def test_edits(self) -> None:
        plan = Plan(Path(), '', [], edits=[
            Edit('f.c', 'one', 'ONE'),
            Edit('f.c', 'two', '2\n', until='three'),
            Edit('f.c', 'four', '4', to_end=True)])
        self.assertEqual(
            cut.adapt(plan, 'f.c', 'one\ntwo\nmore\nthree\nfour\nfive\n'),
            'ONE\n2\nthree\n4')
        with self.assertRaisesRegex(Problem, 'f.c: has 0 times'):
            cut.adapt(plan, 'f.c', 'one\ntwo\nfour\n')


class CheckpatchTest(unittest.TestCase):

    OUTPUT = ('a.patch:1: WARNING: moved files\n'
              'a.patch:2: ERROR: moved files\n'
              'a.patch:3: WARNING: line over 80 characters\n')

    def test_only_warnings_are_accepted(self) -> None:
        self.assertEqual(
            checkpatch.filter_complaints(self.OUTPUT, ['moved']),
            ['ERROR: moved files', 'WARNING: line over 80 characters'])

    def complaints(self, script: str) -> list[str]:
        """Run a script in place of checkpatch.pl."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'scripts/checkpatch.pl')
            path.parent.mkdir()
            path.write_text(script, encoding='utf-8')
            return checkpatch.complaints(Path(folder), Path('a.patch'), [])

    def test_results(self) -> None:
        self.assertEqual(self.complaints('exit 0;'), [])
        self.assertEqual(
            self.complaints('print "a:1: WARNING: w\\ntotal: 0 errors, 1 '
                            'warnings, 9 lines checked\\n"; exit 1;'),
            ['WARNING: w'])
        with self.assertRaisesRegex(Problem, 'failed: out of order'):
            self.complaints('die "out of order\\n";')


@unittest.skipUnless(shutil.which('git'), 'git is missing')
class ExportTest(unittest.TestCase):
    """A project and a QEMU with a few files each"""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.write('patches/hook.patch', HOOK)
        self.write('own/one.c', 'int one(void);\nint two(void);\nOldName x;\n')
        self.write('own/two.c', 'int two(void);\n')
        self.write('own/meson.build', "files(\n  'one.c',\n  'two.c',\n)\n")
        self.write('own/cxx.cc', 'class C;\n')
        self.write('series/x/series.toml', PLAN)
        self.write('series/x/cover-letter.txt', 'The subject\n\nThe text.\n')
        self.write('series/x/maintainers.txt',
                   'Our section\nF: own/meson.build\nF: own/one.c\n'
                   'F: own/two.c\n')
        self.write('qemu/qemu.c', 'int qemu;\n')
        self.write('qemu/MAINTAINERS', 'First section\n\nLast section\n')
        self.pristine = self.commit_qemu('pristine')
        self.write('qemu/qemu.c', 'int qemu;\nint hook;\n')
        self.patched = self.commit_qemu('patched')
        self.own = ['own/cxx.cc', 'own/meson.build', 'own/one.c', 'own/two.c']

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ['git', '-C', self.root / 'qemu', '-c', 'user.name=n', '-c',
             'user.email=e', *arguments], check=True, text=True,
            capture_output=True,
            env={**os.environ, 'GIT_CONFIG_GLOBAL': '/dev/null'}).stdout

    def commit_qemu(self, message: str) -> str:
        self.git('init', '-q')
        self.git('add', '-A')
        self.git('commit', '-q', '-m', message)
        return self.git('rev-parse', 'HEAD').strip()

    def exporter(self) -> Exporter:
        plan = read_plan(self.root / 'series/x/series.toml')
        repository = Repository.borrow(self.root / 'qemu/.git',
                                       self.root / 'out.git', AUTHOR,
                                       plan.date)
        return Exporter(self.root, plan, repository, AUTHOR)

    def check(self) -> tuple[Exporter, list[str]]:
        exporter = self.exporter()
        commits = exporter.make_commits(self.pristine)
        exporter.check_last(commits[-1], self.patched, self.own)
        return exporter, commits

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text(encoding='utf-8')
        self.assertIn(old, text)
        self.write(name, text.replace(old, new))

    def test_commits(self) -> None:
        exporter, commits = self.check()
        read = exporter.repository.read
        self.assertEqual(read('qemu.c', commits[0]), 'int qemu;\nint hook;\n')
        self.assertNotIn('own/one.c', exporter.repository.blobs(commits[0]))
        self.assertEqual(read('own/one.c', commits[1]),
                         'int one(void);\nNewName x;\n')
        self.assertEqual(read('own/meson.build', commits[1]),
                         "files(\n  'one.c',\n)\n")
        self.assertEqual(read('MAINTAINERS', commits[1]),
                         'First section\n\nOur section\nF: own/meson.build\n'
                         'F: own/one.c\n\nLast section\n')
        self.assertEqual(read('own/one.c', commits[2]),
                         'int one(void);\nint two(void);\nNewName x;\n')
        self.assertIn('F: own/two.c\n', read('MAINTAINERS', commits[2]))

    def test_extensions(self) -> None:
        self.replace('series/x/series.toml', "growing = ['own/meson.build']\n",
                     "[[extend]]\nfile = 'qemu.c'\n"
                     "source = 'own/meson.build'\n")
        self.replace('series/x/series.toml', "'own/meson.build', ", '')
        # A patch for the end of the file, after it was extended
        self.replace('series/x/series.toml',
                     "[[commit]]\npatches = ['patches/hook.patch']\n\n", '')
        self.replace('series/x/series.toml', "files = ['own/two.c']\n",
                     "files = ['own/two.c']\n"
                     "patches = ['patches/hook.patch']\n")
        exporter = self.exporter()
        commits = exporter.make_commits(self.pristine)
        texts = [exporter.repository.read('qemu.c', commit)
                 for commit in commits]
        self.assertEqual(texts, [
            "int qemu;\n\nfiles(\n  'one.c',\n)\n",
            "int qemu;\nint hook;\n\nfiles(\n  'one.c',\n  'two.c',\n)\n"])
        # Except for the extension, the file is as the project builds it
        exporter.plan.left_out['own/meson.build'] = 'extends qemu.c'
        exporter.check_last(commits[-1], self.patched, self.own)
        with self.assertRaisesRegex(Problem, 'qemu.c: differs from'):
            exporter.check_last(commits[-1], self.pristine, self.own)

    def test_patches_are_reproducible(self) -> None:
        texts = []
        for _ in range(2):
            exporter, commits = self.check()
            patches = exporter.write_patches(self.pristine, commits[-1],
                                             self.root / 'out')
            self.assertEqual(len(patches), 3)
            texts.append({path.name: path.read_text(encoding='utf-8')
                          for path in (self.root / 'out').iterdir()})
        self.assertEqual(texts[0], texts[1])
        cover = texts[0]['0000-cover-letter.patch']
        self.assertIn('Subject: [PATCH 0/3] The subject\n', cover)
        self.assertIn('\nThe text.\n', cover)
        self.assertIn(f'\nReason one.\n\nSigned-off-by: {AUTHOR}\n',
                      texts[0]['0002-own-add-one.patch'])

    def test_message_of_patch(self) -> None:
        self.assertEqual(message_of_patch(self.root / 'patches/hook.patch'),
                         'qemu: call the hook with a subject that is longer '
                         'than a line\n\nWhy it is called.\n')

    def test_unexpected_differences(self) -> None:
        cases = (
            ('series/x/series.toml', "'MAINTAINERS' =", "'qemu.c' =",
             'MAINTAINERS: differs from'),
            ('series/x/series.toml', "'MAINTAINERS' =",
             "'qemu.c' = ''\n'MAINTAINERS' =", 'qemu.c: .*it is the same'),
            ('series/x/series.toml', "'own/cxx.cc'", "'own/other.cc'",
             'own/cxx.cc: no commit adds it'),
            ('series/x/series.toml', "'own/cxx.cc'", "'own/*'",
             'own/one.c: added, but left_out'),
            ('series/x/maintainers.txt', 'F: own/two.c\n', '',
             'own/two.c: maintainers.txt has no pattern'),
        )
        for name, old, new, message in cases:
            with self.subTest(message):
                text = (self.root / name).read_text(encoding='utf-8')
                self.replace(name, old, new)
                with self.assertRaisesRegex(Problem, message):
                    self.check()
                self.write(name, text)

    def test_wrong_plans(self) -> None:
        cases = (
            ("files = ['own/two.c']", "files = ['own/none.c']",
             'own/none.c: is in x/series.toml but not in the project'),
            ("files = ['own/two.c']", "files = ['own/one.c']",
             'two commits add own/one.c'),
            ("subject = 'own: add two'\n", '', 'no subject for'),
            ('text = "int two', 'text = "int three', 'own/one.c: has 0 times'),
            ("body = 'Reason one.'", 'body = ', 'cannot be used'),
            ("body = 'Reason one.'", "text = ''", 'cannot be used'),
        )
        for old, new, message in cases:
            with self.subTest(message):
                self.write('series/x/series.toml', PLAN)
                self.replace('series/x/series.toml', old, new)
                with self.assertRaisesRegex(Problem, message):
                    self.check()

    def test_patch_that_does_not_apply(self) -> None:
        self.replace('patches/hook.patch', ' int qemu;', ' int other;')
        with self.assertRaisesRegex(Problem, 'hook.patch: does not apply'):
            self.check()

    def test_wrong_author(self) -> None:
        with self.assertRaisesRegex(Problem, 'is not "NAME <ADDRESS>"'):
            Repository(self.root, ' <>', '')

    def test_long_line_of_cover_letter(self) -> None:
        self.write('series/x/cover-letter.txt', f'Subject\n\n{"x" * 73}\n')
        exporter, commits = self.check()
        with self.assertRaisesRegex(Problem, 'a line of 73 characters'):
            exporter.write_patches(self.pristine, commits[-1],
                                   self.root / 'out')


class PlansTest(unittest.TestCase):
    """The plans in series/, without QEMU's source"""

    def test_files_exist_and_can_be_cut(self) -> None:
        plans = sorted((ROOT / 'series').glob('*/series.toml'))
        self.assertTrue(plans)
        for path in plans:
            plan = read_plan(path)
            repository = Repository(ROOT, AUTHOR, plan.date)
            exporter = Exporter(ROOT, plan, repository, AUTHOR)
            for number, commit in enumerate(plan.commits):
                with self.subTest(path.parent.name, number=number):
                    self.assertTrue(exporter.message(commit))
                    for name in commit.files:
                        self.assertTrue(exporter.state(name, number))
                    for patch in commit.patches:
                        self.assertTrue((ROOT / patch).is_file(), patch)

    def test_patches_are_used(self) -> None:
        used = {patch for path in (ROOT / 'series').glob('*/series.toml')
                for commit in read_plan(path).commits
                for patch in commit.patches}
        for path in (ROOT / 'series').glob('*/*.patch'):
            self.assertIn(str(path.relative_to(ROOT)), used)


if __name__ == '__main__':
    unittest.main()
