# SPDX-License-Identifier: GPL-2.0-or-later

"""List the programs to build for meson's test suites, read the results, and
compare the results of two trees."""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SUITES = frozenset(('unit', 'qtest-x86_64'))

# If two cases of a test have the same name, the worse outcome counts
GREEN, SKIPPED, FAILED = 'green', 'skipped', 'failed'
BADNESS = (SKIPPED, GREEN, FAILED)

OUTCOMES = {'OK': GREEN, 'EXPECTEDFAIL': GREEN, 'SKIP': SKIPPED}

TEST_POINT = re.compile(
    r'\s*(?P<bad>not )?ok\b(\s+\d+)?(\s+-)?\s*(?P<name>[^#]*?)\s*'
    r'(#\s*(?P<directive>\w+).*)?$', re.IGNORECASE)

# The result of the test as a whole is one of its cases, with this name
WHOLE = ''

Cases = dict[str, str]
Results = dict[str, Cases]


def parse_tap(text: str) -> Cases:
    """Return the test points in a program's output."""
    cases: Cases = {}
    for line in text.splitlines():
        point = TEST_POINT.match(line)
        if not point or not point['name']:
            continue
        state = FAILED if point['bad'] else GREEN
        if (point['directive'] or '').upper() in ('SKIP', 'TODO'):
            state = SKIPPED
        name = point['name']
        cases[name] = max(cases.get(name, state), state, key=BADNESS.index)
    return cases


def parse_log(text: str) -> Results:
    """Parse meson's testlog.json, which has one JSON object per test and line.
    """
    results: Results = {}
    for line in text.splitlines():
        record = json.loads(line)
        # 'project:suite+suite / name'
        name = record['name'].rpartition(' / ')[2]
        results[name] = {WHOLE: OUTCOMES.get(record['result'], FAILED),
                         **parse_tap(record.get('stdout', ''))}
    return results


def read_log(build: Path) -> Results:
    log = build / 'meson-logs/testlog.json'
    if not log.exists():
        sys.exit(f'error: {log}: missing; run "meson test" first')
    return parse_log(log.read_text(encoding='utf-8', errors='replace'))


def load(path: Path) -> Results:
    return json.loads(path.read_text(encoding='utf-8'))


def save(path: Path, results: Results) -> None:
    """Write results atomically: later runs assume that a file is complete."""
    new = path.with_name(path.name + '.new')
    new.write_text(json.dumps(results, indent=1, sort_keys=True) + '\n',
                   encoding='utf-8')
    new.replace(path)


def introspect(build: Path, what: str) -> list[dict]:
    path = build / f'meson-info/intro-{what}.json'
    return json.loads(path.read_text(encoding='utf-8'))


def needs_kvm(test: dict) -> bool:
    """Whether a test runs guests with KVM, for a long time without it.

    QEMU 10.2 adds this argument if /dev/kvm exists.
    """
    return '--full' in test['cmd']


def listed_tests(build: Path, wanted: frozenset[str] = SUITES,
                 unwanted: frozenset[str] = frozenset(),
                 has_kvm: bool = True) -> Iterator[dict]:
    for test in introspect(build, 'tests'):
        suites = {suite.rpartition(':')[2] for suite in test['suite']}
        if (wanted & suites and not unwanted & suites and
                (has_kvm or not needs_kvm(test))):
            yield test


def print_tests(build: Path, has_kvm: bool) -> int:
    """Print the names of the tests, one per line."""
    print('\n'.join(sorted(test['name'] for test in
                           listed_tests(build, has_kvm=has_kvm))))
    return 0


def print_targets(build: Path, wanted: frozenset[str],
                  unwanted: frozenset[str]) -> int:
    """Print the ninja targets of the suites, one per line."""
    targets = {target['id']: target
               for target in introspect(build, 'targets')}
    files = {Path(file).relative_to(build.resolve())
             for test in listed_tests(build, wanted, unwanted)
             for needed in test['depends']
             for file in targets[needed]['filename']}
    print('\n'.join(sorted(map(str, files))))
    return 0


def collect(build: Path, path: Path, has_kvm: bool) -> int:
    """Save the results of a run, which must have run all tests."""
    results = read_log(build)
    missing = sorted({test['name'] for test in
                      listed_tests(build, has_kvm=has_kvm)} - results.keys())
    if missing or not results:
        print(f'error: {build}: meson did not run all tests; '
              f'{len(missing)} are missing: {" ".join(missing[:5])}',
              file=sys.stderr)
        return 1
    save(path, results)
    return 0


def update(build: Path, path: Path) -> int:
    """Replace the results of tests that were repeated."""
    save(path, load(path) | read_log(build))
    return 0


def print_doubtful(path: Path, pristine: Path | None) -> int:
    """Print the tests that failed, or that are regressions, one per line."""
    results = load(path)
    if pristine:
        comparison = Comparison(load(pristine), results)
        doubtful = {test for test, _, _ in comparison.worse()
                    if test in results}
    else:
        doubtful = {test for test, cases in results.items()
                    if FAILED in cases.values()}
    print('\n'.join(sorted(doubtful)))
    return 0


@dataclass
class Comparison:
    """Compares cases; a regression is (test, case, state in patched)."""

    pristine: Results
    patched: Results
    regressions: list[tuple[str, str, str]] = field(default_factory=list)
    own: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for test, case, state in flatten(self.pristine):
            now = self.patched.get(test, {}).get(case, 'missing')
            if state == GREEN and now != GREEN:
                self.regressions.append((test, case, now))
        for test, case, state in flatten(self.patched):
            if case not in self.pristine.get(test, {}):
                self.own.append((test, case, state))

    def own_failures(self) -> list[tuple[str, str, str]]:
        return [entry for entry in self.own if entry[2] == FAILED]

    def worse(self) -> list[tuple[str, str, str]]:
        """Return the regressions of the patched tree and its own failures."""
        return self.regressions + self.own_failures()

    def shared(self) -> Results:
        """Return the patched tree's results of cases that both trees have."""
        return {test: {case: state for case, state in cases.items()
                       if case in self.pristine[test]}
                for test, cases in self.patched.items()
                if test in self.pristine}


def flatten(results: Results) -> Iterator[tuple[str, str, str]]:
    for test, cases in sorted(results.items()):
        for case, state in cases.items():
            yield test, case, state


def count(entries: Iterable[tuple[str, str, str]], whole: bool) -> Counter:
    """Count tests by outcome if @whole is true, otherwise their cases."""
    return Counter(state for _, case, state in entries
                   if (case == WHOLE) == whole)


def print_table(comparison: Comparison) -> None:
    columns = (list(flatten(comparison.pristine)),
               list(flatten(comparison.shared())), comparison.own)
    print(f'{"":22}{"pristine":>10}{"patched":>10}{"only in patched":>18}')
    for title, whole in (('tests', True), ('cases', False)):
        counts = [count(column, whole) for column in columns]
        for state in (GREEN, SKIPPED, FAILED):
            first, second, own = (counter[state] for counter in counts)
            print(f'{title + ", " + state:22}{first:10}{second:10}{own:18}')


def describe(entry: tuple[str, str, str]) -> str:
    test, case, state = entry
    return f'{test}{": " if case else ""}{case}: {state}'


def compare(pristine: Path, patched: Path, counts: Path | None) -> int:
    comparison = Comparison(load(pristine), load(patched))
    worse = comparison.worse()
    print_table(comparison)
    for entry in comparison.regressions:
        print(f'passes in the pristine tree, but not in the patched one: '
              f'{describe(entry)}')
    for entry in comparison.own_failures():
        print(f'fails, and exists only in the patched tree: {describe(entry)}')
    failed_in_both = sum(state == FAILED for *_, state in
                         flatten(comparison.shared())) - sum(
        state == FAILED for *_, state in comparison.regressions)
    if failed_in_both:
        print(f'ignored: {failed_in_both} that do not pass in the pristine '
              'tree either')
    if counts:
        ended = Counter(entry[2] for entry in flatten(comparison.patched)
                        if entry not in worse)
        counts.write_text(
            f'{ended[GREEN]} {len(worse)} {ended[SKIPPED]}\n',
            encoding='utf-8')
    print(f'regressions: {len(worse) or "none"}')
    return 1 if worse else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    for name, arguments in (('targets', ('build',)),
                            ('tests', ('build',)),
                            ('collect', ('build', 'results')),
                            ('update', ('build', 'results')),
                            ('doubtful', ('results',)),
                            ('compare', ('pristine', 'patched'))):
        command = commands.add_parser(name)
        for argument in arguments:
            command.add_argument(argument, type=Path)
        if name == 'targets':
            command.add_argument('--suite', action='append')
            command.add_argument('--no-suite', action='append', default=[])
        if name in ('tests', 'collect'):
            command.add_argument('--without-kvm', action='store_true')
        if name == 'doubtful':
            command.add_argument('--pristine', type=Path)
        if name == 'compare':
            command.add_argument('--counts', type=Path)
    options = parser.parse_args()
    match options.command:
        case 'targets':
            return print_targets(options.build,
                                 frozenset(options.suite or SUITES),
                                 frozenset(options.no_suite))
        case 'tests':
            return print_tests(options.build, not options.without_kvm)
        case 'collect':
            return collect(options.build, options.results,
                           not options.without_kvm)
        case 'update':
            return update(options.build, options.results)
        case 'doubtful':
            return print_doubtful(options.results, options.pristine)
    return compare(options.pristine, options.patched, options.counts)


if __name__ == '__main__':
    sys.exit(main())
