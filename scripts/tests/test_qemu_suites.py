# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the comparison of QEMU's suites."""

import json
import tempfile
import unittest
from pathlib import Path

from lib.qemu_suites import (FAILED, GREEN, SKIPPED, WHOLE, Comparison,
                             listed_tests, parse_log, parse_tap)


class ParseTapTest(unittest.TestCase):
    def test_results_of_test_points(self) -> None:
        self.assertEqual(parse_tap('1..4\n'
                                   'ok 1 /a\n'
                                   'not ok 2 /b\n'
                                   'ok 3 /c # SKIP no KVM\n'
                                   'not ok 4 /d # TODO later\n'
                                   '# ok 5 /e\n'
                                   'Bail out!\n'),
                         {'/a': GREEN, '/b': FAILED, '/c': SKIPPED,
                          '/d': SKIPPED})

    def test_number_is_not_part_of_name(self) -> None:
        self.assertEqual(parse_tap('ok 1 - /a/1'), parse_tap('ok 2 /a/1'))

    def test_subtests_are_included(self) -> None:
        self.assertEqual(parse_tap('    not ok 1 /a/b'), {'/a/b': FAILED})

    def test_failure_overrides_success_of_same_name(self) -> None:
        for text in ('ok 1 /a\nnot ok 2 /a', 'not ok 1 /a\nok 2 /a'):
            self.assertEqual(parse_tap(text), {'/a': FAILED})


class ParseLogTest(unittest.TestCase):
    def test_results_of_programs_and_subtests(self) -> None:
        def record(name: str, result: str, **more: str) -> str:
            return json.dumps({'name': name, 'result': result, **more}) + '\n'

        text = (record('qemu:unit+qga / test-qga', 'OK', stdout='ok 1 /a')
                + record('qemu:unit / b', 'TIMEOUT')
                + record('qemu:unit / c', 'SKIP')
                + record('qemu:qtest / qtest-x86_64/d', 'ERROR'))
        self.assertEqual(parse_log(text),
                         {'test-qga': {WHOLE: GREEN, '/a': GREEN},
                          'b': {WHOLE: FAILED}, 'c': {WHOLE: SKIPPED},
                          'qtest-x86_64/d': {WHOLE: FAILED}})


class ListTest(unittest.TestCase):
    def listed(self, has_kvm: bool = True) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            info = Path(folder) / 'meson-info'
            info.mkdir()
            (info / 'intro-tests.json').write_text(json.dumps([
                {'name': name, 'suite': [f'qemu:{suite}'], 'cmd': command}
                for name, suite, command in (
                    ('a', 'unit', ['a', '--tap']),
                    ('b', 'qtest-x86_64', ['b', '--tap', '--full']),
                    ('c', 'block', ['c']))]))
            return [test['name'] for test in
                    listed_tests(Path(folder), has_kvm=has_kvm)]

    def test_tests_of_the_suites(self) -> None:
        self.assertEqual(self.listed(), ['a', 'b'])

    def test_tests_that_need_kvm(self) -> None:
        self.assertEqual(self.listed(has_kvm=False), ['a'])


class ComparisonTest(unittest.TestCase):
    def regressions(self, before: str | None, after: str | None) -> list:
        def results(state: str | None) -> dict:
            return {'t': {WHOLE: GREEN, **({'/a': state} if state else {})}}
        return Comparison(results(before), results(after)).regressions

    def test_regressions_of_passed_tests(self) -> None:
        self.assertEqual(self.regressions(GREEN, GREEN), [])
        for state in (FAILED, SKIPPED):
            self.assertEqual(self.regressions(GREEN, state),
                             [('t', '/a', state)])
        self.assertEqual(self.regressions(GREEN, None),
                         [('t', '/a', 'missing')])

    def test_no_regression_unless_passed_before(self) -> None:
        for before in (FAILED, SKIPPED, None):
            for after in (GREEN, FAILED, SKIPPED, None):
                self.assertEqual(self.regressions(before, after), [])

    def test_missing_program_is_a_regression(self) -> None:
        comparison = Comparison({'t': {WHOLE: GREEN}}, {})
        self.assertEqual(comparison.regressions, [('t', WHOLE, 'missing')])

    def test_added_tests_are_own_tests(self) -> None:
        comparison = Comparison(
            {'t': {WHOLE: GREEN}},
            {'t': {WHOLE: GREEN, '/new': FAILED}, 'u': {WHOLE: GREEN}})
        self.assertEqual(comparison.regressions, [])
        self.assertEqual(comparison.own, [('t', '/new', FAILED),
                                          ('u', WHOLE, GREEN)])
        self.assertEqual(comparison.own_failures(), [('t', '/new', FAILED)])
        self.assertEqual(comparison.shared(), {'t': {WHOLE: GREEN}})


if __name__ == '__main__':
    unittest.main()
