# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of how meson's results are counted, with a run of real tests."""

import shutil
import subprocess
import tempfile
import unittest
from collections import Counter
from pathlib import Path

from lib.meson_results import count_files, describe_failures

# Test name: protocol, shell command, and expected counts
TESTS = {
    'good': ('exitcode', 'true', {'passed': 1}),
    'bad': ('exitcode', 'false', {'failed': 1}),
    'skipped': ('exitcode', 'exit 77', {'skipped': 1}),
    'hung': ('exitcode', 'sleep 100', {'failed': 1}),
    'killed': ('exitcode', 'kill -SEGV $$', {'failed': 1}),
    'tap-good': ('tap', 'echo ok 1 - a; echo ok 2 - b; echo 1..2',
                 {'passed': 2}),
    'tap-bad': ('tap', 'echo 1..2; echo ok 1; echo not ok 2; exit 1',
                {'passed': 1, 'failed': 1}),
    'tap-explained': ('tap', 'echo not ok 1 - a; seq -f "# %.0f" 20; '
                      'echo ok 2 - b; echo "# d"; echo not ok 3 - c; '
                      'echo 1..3; exit 1', {'passed': 1, 'failed': 2}),
    'tap-skip': ('tap', 'echo 1..2; echo ok 1; echo "ok 2 # SKIP no disk"',
                 {'passed': 1, 'skipped': 1}),
    'tap-skip-all': ('tap', 'echo "1..0 # SKIP no disk"', {'skipped': 1}),
    'tap-bail-out': ('tap', 'echo ok 1; echo "Bail out! hung"; exit 3',
                     {'passed': 1, 'failed': 1}),
    'tap-bail-out-first': ('tap', 'echo "Bail out! hung"', {'failed': 1}),
    'tap-too-few': ('tap', 'echo 1..3; echo ok 1', {'passed': 1, 'failed': 1}),
    'tap-too-many': ('tap', 'echo 1..1; echo ok 1; echo ok 2',
                     {'passed': 2, 'failed': 1}),
    'tap-no-plan': ('tap', 'echo ok 1', {'passed': 1, 'failed': 1}),
    'tap-empty': ('tap', 'true', {'failed': 1}),
    'tap-status': ('tap', 'echo ok 1; echo 1..1; exit 1',
                   {'passed': 1, 'failed': 1}),
    'tap-killed': ('tap', 'echo 1..1; echo ok 1; kill -SEGV $$',
                   {'passed': 1, 'failed': 1}),
    'tap-hung': ('tap', 'echo 1..2; echo ok 1; sleep 100',
                 {'passed': 1, 'failed': 1}),
    'gtest-bad': ('gtest', 'cat >gtest-bad.xml <"$0"; exit 1',
                  {'passed': 1, 'failed': 1, 'skipped': 1}),
    'gtest-killed': ('gtest', 'kill -SEGV $$', {'failed': 1}),
}

GTEST = '''<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1" disabled="1" errors="0" name="AllTests">
  <testsuite name="Map" tests="3" failures="1" disabled="1" errors="0">
    <testcase name="a" status="run" result="completed" classname="Map"/>
    <testcase name="b" status="run" result="completed" classname="Map">
      <failure message="1"/><failure message="2"/>
    </testcase>
    <testcase name="c" status="notrun" result="suppressed" classname="Map"/>
  </testsuite>
</testsuites>
'''


class CountFilesTest(unittest.TestCase):
    """Counts of failed cases, with the installed meson."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        shell = shutil.which('sh')
        lines = ["project('results')", f"shell = find_program('{shell}')"]
        for name, (protocol, script, _) in TESTS.items():
            (self.root / name).write_text(script + '\n', encoding='utf-8')
            lines.append(f"test('{name}', shell, args: ['-c', "
                         f"'''{script}''', files('gtest.txt')], "
                         f"protocol: '{protocol}', timeout: 2, "
                         f"suite: '{protocol}')")
        (self.root / 'meson.build').write_text('\n'.join(lines) + '\n',
                                               encoding='utf-8')
        (self.root / 'gtest.txt').write_text(GTEST, encoding='utf-8')
        self.run_meson('setup', 'build')

    def run_meson(self, *arguments: str) -> int:
        return subprocess.run(
            ['/usr/bin/meson', *arguments], cwd=self.root, check=False,
            stdin=subprocess.DEVNULL, capture_output=True).returncode

    def test_counts_of_each_protocol(self) -> None:
        log = self.root / 'build/meson-logs/testlog.junit.xml'
        for name, (_, _, wanted) in TESTS.items():
            with self.subTest(name):
                status = self.run_meson('test', '-C', 'build', name)
                self.assertEqual(dict(count_files(log)), wanted)
                if status:
                    self.assertIn('failed', wanted)

    def test_counts_of_all_tests(self) -> None:
        self.run_meson('test', '-C', 'build')
        total: Counter[str] = Counter()
        for _, _, wanted in TESTS.values():
            total.update(wanted)
        self.assertEqual(
            count_files(self.root / 'build/meson-logs/testlog.junit.xml'),
            total)

    def test_failures_are_described(self) -> None:
        self.run_meson('test', '-C', 'build')
        found = {}
        for text in describe_failures(
                self.root / 'build/meson-logs/testlog.junit.xml'):
            name, _, excerpt = text.removeprefix('failed: ').partition('\n')
            found[name.rpartition(' / ')[2]] = excerpt
        self.assertEqual(
            set(found), {name for name, (_, _, wanted) in TESTS.items()
                         if 'failed' in wanted})
        self.assertEqual(found['tap-bad'], '  not ok 2')
        self.assertEqual(found['tap-explained'].splitlines(),
                         ['  not ok 1 - a', '  # 1', '  # 2', '  # 3', '  # 4',
                          '  # 5', '  [...]', '  # 15', '  # 16', '  # 17',
                          '  # 18', '  # 19', '  # 20', '  not ok 3 - c'])
        self.assertIn('  Bail out! hung', found['tap-bail-out'])


if __name__ == '__main__':
    unittest.main()
