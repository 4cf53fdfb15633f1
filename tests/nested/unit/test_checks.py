# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of checks and TAP, and of repetition when level 1 hangs."""

import io
import unittest

from harness.checks import Checks, TapWriter
from harness.hang import REPEATED, repeat_if_hung
from harness.l1 import L1Error, L1Hung


class ChecksTest(unittest.TestCase):

    def test_failed_check_is_recorded(self) -> None:
        checks = Checks()
        self.assertFalse(checks.check(False, 'bad', 'why'))
        self.assertTrue(checks.check(True, 'good', 'unused'))
        self.assertEqual([result.name for result in checks.results],
                         ['bad', 'good'])
        self.assertEqual([result.name for result in checks.failures], ['bad'])
        self.assertEqual(checks.failed, 1)

    def test_callback_receives_each_line(self) -> None:
        lines: list[str] = []
        checks = Checks(lines.append)
        checks.check(True, 'good', 'unused')
        checks.check(False, 'bad', 'why')
        checks.comment('remark')
        self.assertEqual(lines, ['good', 'FAILED: bad\nwhy', 'remark'])

    def test_clear(self) -> None:
        checks = Checks()
        checks.check(False, 'bad')
        checks.comment('remark')
        checks.clear()
        self.assertEqual((checks.entries, checks.failed), ([], 0))


class TapTest(unittest.TestCase):

    def setUp(self) -> None:
        self.out = io.StringIO()
        self.errors = io.StringIO()
        self.tap = TapWriter(self.out, self.errors)

    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()

    def test_results(self) -> None:
        checks = Checks()
        checks.check(True, 'good # of its kind', 'unused')
        checks.comment('two\nlines')
        checks.check(False, 'bad', 'why\nso')
        self.tap.add_all(checks)
        self.assertFalse(self.tap.finish())
        self.assertEqual(self.lines(), [
            'TAP version 13', 'ok 1 - good of its kind', '# two', '# lines',
            'not ok 2 - bad', '# why', '# so', '1..2'])
        self.assertEqual(self.errors.getvalue(), 'not ok 2 - bad\nwhy\nso\n')

    def test_no_failure(self) -> None:
        checks = Checks()
        checks.check(True, 'good')
        self.tap.add_all(checks)
        self.assertTrue(self.tap.finish())

    def test_no_checks_is_a_failure(self) -> None:
        self.assertFalse(self.tap.finish())
        self.assertEqual(self.lines(), ['TAP version 13',
                                        'Bail out! nothing was tested'])

    def test_bail_out(self) -> None:
        self.tap.bail_out('hung\nwhy')
        self.assertEqual(self.lines()[1:], ['Bail out! hung', '# why'])
        self.assertEqual(self.errors.getvalue(), 'hung\nwhy\n')

    def test_skip_all(self) -> None:
        self.tap.skip_all('no limit')
        self.assertEqual(self.lines()[1:], ['1..0 # SKIP no limit'])


class HangTest(unittest.TestCase):

    def setUp(self) -> None:
        self.attempts = 0
        self.reports: list[str] = []

    def run_attempts(self, *errors: Exception | None) -> int:
        """Call an attempt that raises one of @errors each time."""
        def attempt() -> int:
            error = errors[self.attempts]
            self.attempts += 1
            if error:
                raise error
            return self.attempts
        return repeat_if_hung(attempt, self.reports.append)

    def test_no_hang(self) -> None:
        self.assertEqual(self.run_attempts(None), 1)
        self.assertEqual(self.reports, [])

    def test_one_hang_is_reported(self) -> None:
        self.assertEqual(self.run_attempts(L1Hung('stood still'), None), 2)
        self.assertEqual(self.reports, [f'{REPEATED}: stood still'])

    def test_two_hangs_are_a_failure(self) -> None:
        with self.assertRaisesRegex(L1Hung, 'again'):
            self.run_attempts(L1Hung('first'), L1Hung('again'), None)
        self.assertEqual(self.attempts, 2)

    def test_other_errors_are_not_repeated(self) -> None:
        with self.assertRaises(L1Error):
            self.run_attempts(L1Error('no file'), None)
        self.assertEqual(self.attempts, 1)
