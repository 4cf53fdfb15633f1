# SPDX-License-Identifier: GPL-2.0-or-later

"""Count the cases of runs of "meson test", from the logs that meson leaves.

A test that crashed, hung or did not run all of its cases counts as one more
failed case, unless one of its cases has failed already.
"""

import argparse
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PASSED, FAILED, SKIPPED = 'passed', 'failed', 'skipped'
GOOD = ('OK', 'EXPECTEDFAIL', 'SKIP')
PLAN = re.compile(r'^1\.\.\d+', re.MULTILINE)


@dataclass
class Test:
    """The cases of a test, and whether they are points of TAP."""

    cases: Counter[str] = field(default_factory=Counter)
    is_tap: bool = False


def outcome(case: ElementTree.Element) -> str:
    """How a case ended; GoogleTest does not run those that are disabled."""
    if case.find('failure') is not None or case.find('error') is not None:
        return FAILED
    if case.find('skipped') is not None or case.get('status') == 'notrun':
        return SKIPPED
    return PASSED


def read_cases(junit: ElementTree.Element) -> dict[str, Test]:
    """The tests in meson's JUnit file, by name, with suites as meson has them.

    A suite is called PROJECT, with a test a case; or PROJECT.TEST, with the
    points of TAP; or PROJECT.TEST.SUITE, where SUITE is GoogleTest's.
    """
    tests: dict[str, Test] = {}
    for suite in junit.iter('testsuite'):
        _, *test_and_suite = suite.get('name', '').split('.', 2)
        for case in suite.iter('testcase'):
            name = (test_and_suite or [case.get('name', '')])[0]
            test = tests.setdefault(name, Test())
            test.cases[outcome(case)] += 1
            test.is_tap = len(test_and_suite) == 1
    return tests


def read_log(text: str) -> Iterator[tuple[str, dict]]:
    """The tests in meson's own log: one JSON object a line."""
    for line in text.splitlines():
        record = json.loads(line)
        yield record['name'], record


def has_failed(record: dict, test: Test) -> bool:
    """Whether a test has failed as a whole."""
    if record['result'] not in GOOD:
        return True
    # meson takes TAP without a plan for complete, and no output for a skip
    is_tap = test.is_tap or (record['result'] == 'SKIP' and
                             record['returncode'] == 0)
    return is_tap and not PLAN.search(record['stdout'])


def count(junit: ElementTree.Element, log: str) -> Counter[str]:
    """How many cases of a run of "meson test" ended how."""
    tests = read_cases(junit)
    result: Counter[str] = Counter()
    for name, record in read_log(log):
        test = tests.get(name, Test())
        cases = test.cases
        if has_failed(record, test) and not cases[FAILED]:
            # Other cases than points of TAP can be from an earlier run
            cases = Counter({FAILED: 1}) + (cases if test.is_tap
                                            else Counter())
        result += cases
    return result


def count_files(junit: Path) -> Counter[str]:
    """The same of a file, whose name ends with .junit.xml.

    meson writes none if it could not run a test, which counts as a failure.
    """
    if not junit.exists():
        print(f'error: {junit}: no test was run', file=sys.stderr)
        return Counter({FAILED: 1})
    log = junit.with_name(junit.name.removesuffix('.junit.xml') + '.json')
    return count(ElementTree.parse(junit).getroot(),
                 log.read_text(encoding='utf-8'))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('junit', nargs='*', type=Path, metavar='JUNIT_FILE',
                        help="meson's testlog.junit.xml, beside testlog.json")
    parser.add_argument('--failed', type=int, default=0, metavar='N',
                        help='steps that failed before a test could be run')
    parser.add_argument('--counts', type=Path, metavar='FILE',
                        help='a file with "PASSED FAILED SKIPPED", which is '
                        'ignored if it does not exist')
    args = parser.parse_args()
    total = Counter({FAILED: args.failed})
    if args.counts and args.counts.exists():
        numbers = map(int, args.counts.read_text(encoding='utf-8').split())
        total.update(dict(zip((PASSED, FAILED, SKIPPED), numbers)))
    for path in args.junit:
        total += count_files(path)
    summary = f'{total[PASSED]} passed, {total[FAILED]} failed'
    if total[SKIPPED]:
        summary += f', {total[SKIPPED]} skipped'
    print(summary)
    return 0 if total[PASSED] and not total[FAILED] else 1


if __name__ == '__main__':
    sys.exit(main())
