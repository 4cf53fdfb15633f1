# SPDX-License-Identifier: GPL-2.0-or-later

"""Count the test cases of runs of "meson test", from meson's logs.

A test that crashed, hung or did not run all of its cases counts as one more
failed case, unless one of its cases has failed already. For each failed test,
an excerpt of its output is shown, because all of it is far up in a long log.
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

# The excerpt of a failed test: the number of test points, and of lines at the
# start and at the end of each
SHOWN_POINTS = 3
SHOWN_LINES = 6
SHOWN_WIDTH = 160


@dataclass
class Test:
    """The cases of a test, and whether they are TAP test points."""

    cases: Counter[str] = field(default_factory=Counter)
    is_tap: bool = False


def outcome(case: ElementTree.Element) -> str:
    """Return the outcome of a case; disabled GoogleTest cases are not run."""
    if case.find('failure') is not None or case.find('error') is not None:
        return FAILED
    if case.find('skipped') is not None or case.get('status') == 'notrun':
        return SKIPPED
    return PASSED


def read_cases(junit: ElementTree.Element) -> dict[str, Test]:
    """Read the tests in meson's JUnit file, by name.

    A JUnit suite is called PROJECT (each case is a test), PROJECT.TEST (each
    case is a TAP test point) or PROJECT.TEST.SUITE (a suite of GoogleTest).
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
    """Read the tests in meson's own log: one JSON object per line."""
    for line in text.splitlines():
        record = json.loads(line)
        yield record['name'], record


def has_failed(record: dict, test: Test) -> bool:
    """Whether a test has failed as a whole."""
    if record['result'] not in GOOD:
        return True
    # meson accepts TAP without a plan, and treats empty output as a skip
    is_tap = test.is_tap or (record['result'] == 'SKIP' and
                             record['returncode'] == 0)
    return is_tap and not PLAN.search(record['stdout'])


def failed_points(output: str) -> list[list[str]]:
    """Return the lines of each failed TAP test point, with diagnostics."""
    points: list[list[str]] = []
    is_failed = False
    for line in output.splitlines():
        if line.startswith('not ok'):
            points.append([line])
            is_failed = True
        elif is_failed and line.startswith('#'):
            points[-1].append(line)
        else:
            is_failed = False
    return points


def describe_failure(record: dict) -> str:
    """Return an excerpt of the output of a failed test."""
    output = record.get('stdout', '')
    points = failed_points(output) or [
        output.splitlines() + record.get('stderr', '').splitlines()]
    lines = [f'failed: {record["name"]}']
    for point in points[:SHOWN_POINTS]:
        if len(point) > 2 * SHOWN_LINES:
            point[SHOWN_LINES:-SHOWN_LINES] = ['[...]']
        lines += [f'  {line[:SHOWN_WIDTH]}' for line in point]
    if len(points) > SHOWN_POINTS:
        lines.append(f'  and {len(points) - SHOWN_POINTS} more')
    return '\n'.join(lines)


def count(junit: ElementTree.Element, log: str) -> Counter[str]:
    """Count the cases of a run of "meson test" by outcome."""
    tests = read_cases(junit)
    result: Counter[str] = Counter()
    for name, record in read_log(log):
        test = tests.get(name, Test())
        cases = test.cases
        if has_failed(record, test) and not cases[FAILED]:
            # GoogleTest's results may be left over from an earlier run
            cases = Counter({FAILED: 1}) + (cases if test.is_tap
                                            else Counter())
        result += cases
    return result


def read_run(path: Path) -> tuple[ElementTree.Element, str]:
    """Read the results of a run and its log; @path is its .junit.xml file."""
    log = path.with_name(path.name.removesuffix('.junit.xml') + '.json')
    return (ElementTree.parse(path).getroot(),
            log.read_text(encoding='utf-8'))


def count_files(path: Path) -> Counter[str]:
    """Count the cases of a run by outcome.

    A missing file counts as a failure: meson could not run a test.
    """
    if not path.exists():
        print(f'error: {path}: no tests were run', file=sys.stderr)
        return Counter({FAILED: 1})
    return count(*read_run(path))


def describe_failures(path: Path) -> Iterator[str]:
    """Yield an excerpt of the output of each failed test of a run."""
    if path.exists():
        junit, log = read_run(path)
        tests = read_cases(junit)
        for name, record in read_log(log):
            if has_failed(record, tests.get(name, Test())):
                yield describe_failure(record)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('junit', nargs='*', type=Path, metavar='JUNIT_FILE',
                        help="meson's testlog.junit.xml, next to testlog.json")
    parser.add_argument('--failed', type=int, default=0, metavar='N',
                        help='number of build steps that failed')
    parser.add_argument('--counts', type=Path, action='append', default=[],
                        metavar='FILE', help='add the numbers "PASSED FAILED '
                        'SKIPPED" in FILE')
    args = parser.parse_args()
    total = Counter({FAILED: args.failed})
    for path in args.counts:
        numbers = map(int, path.read_text(encoding='utf-8').split())
        total.update(dict(zip((PASSED, FAILED, SKIPPED), numbers)))
    for path in args.junit:
        total += count_files(path)
        for failure in describe_failures(path):
            print(failure)
    summary = f'{total[PASSED]} passed, {total[FAILED]} failed'
    if total[SKIPPED]:
        summary += f', {total[SKIPPED]} skipped'
    print(summary)
    return 0 if total[PASSED] and not total[FAILED] else 1


if __name__ == '__main__':
    sys.exit(main())
