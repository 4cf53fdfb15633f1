# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of checks and TAP."""

import io
import unittest

from harness.checks import Checks, TapWriter


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
