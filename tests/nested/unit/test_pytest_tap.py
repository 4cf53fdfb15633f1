# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of pytest's results as TAP."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from harness import NESTED


class TapTest(unittest.TestCase):

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_tests(self, text: str, *options: str) -> tuple[int, list[str]]:
        """Run a test module. Returns the status and the test points."""
        (self.folder / 'test_it.py').write_text(text, encoding='utf-8')
        (self.folder / 'pytest.ini').write_text('[pytest]\n')
        result = subprocess.run(
            [sys.executable, '-m', 'pytest', '-p', 'harness.pytest_plugin',
             '-p', 'no:cacheprovider', '--tap', *options, 'test_it.py'],
            cwd=self.folder, env={**os.environ, 'PYTHONPATH': str(NESTED)},
            capture_output=True, text=True, check=False)
        self.out = result.stdout.splitlines()
        self.assertEqual(self.out[0], 'TAP version 13')
        return result.returncode, [line for line in self.out[1:]
                                   if not line.startswith('#')]

    def test_each_check_is_a_point(self) -> None:
        self.assertEqual(self.run_tests('''
def test_it(checks):
    print('noise')
    checks.check(True, 'one')
    checks.check(True, 'two')
'''), (0, ['ok 1 - one', 'ok 2 - two', '1..2']))

    def test_failed_check(self) -> None:
        self.assertEqual(self.run_tests('''
def test_it(checks):
    checks.check(False, 'one', 'why')
    checks.check(True, 'two')
'''), (1, ['not ok 1 - one', 'ok 2 - two', '1..2']))
        self.assertIn('# why', self.out)

    def test_each_test_without_checks_is_a_point(self) -> None:
        self.assertEqual(self.run_tests('''
import pytest
def test_good(): print('noise')
def test_bad(): assert False
@pytest.mark.skip(reason='no device')
def test_left_out(): pass
'''), (1, ['ok 1 - test_it.py::test_good', 'not ok 2 - test_it.py::test_bad',
           'ok 3 - test_it.py::test_left_out # SKIP no device', '1..3']))

    def test_exception_after_checks(self) -> None:
        self.assertEqual(self.run_tests('''
def test_it(checks):
    checks.check(True, 'one')
    raise ValueError('broken')
'''), (1, ['ok 1 - one', 'not ok 2 - test_it.py::test_it', '1..2']))

    def test_failing_fixtures(self) -> None:
        self.assertEqual(self.run_tests('''
import pytest
@pytest.fixture
def early(): raise ValueError('broken')
@pytest.fixture
def late():
    yield
    raise ValueError('broken')
def test_early(early): pass
def test_late(late): pass
'''), (1, ['not ok 1 - test_it.py::test_early: setup',
           'ok 2 - test_it.py::test_late',
           'not ok 3 - test_it.py::test_late: teardown', '1..3']))

    def test_unused_checks_fixture_is_a_failure(self) -> None:
        self.assertEqual(self.run_tests('def test_it(checks): pass'),
                         (1, ['not ok 1 - test_it.py::test_it', '1..1']))

    def test_module_cannot_be_loaded(self) -> None:
        status, points = self.run_tests('import nothing_of_that_name')
        self.assertNotEqual(status, 0)
        self.assertEqual(points, ['not ok 1 - test_it.py: collecting tests',
                                  'Bail out! 1 error during collection'])

    def test_no_test_is_selected(self) -> None:
        status, points = self.run_tests('def test_it(): pass', '-k', 'other')
        self.assertNotEqual(status, 0)
        self.assertEqual(points, ['Bail out! nothing was tested'])
