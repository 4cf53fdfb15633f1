# SPDX-License-Identifier: GPL-2.0-or-later

"""Collect results of checks, and print them in the Test Anything Protocol.

A test collects its results in a Checks object and continues after a failed
check. The results are printed when the test has ended.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO


@dataclass
class Result:
    """The result of one check."""

    good: bool
    name: str
    diagnostics: str = ''


class Checks:
    """Results of checks and comments, in chronological order."""

    def __init__(self, follow: Callable[[str], None] = lambda line: None
                 ) -> None:
        """@follow is called with each result or comment immediately."""
        self.entries: list[Result | str] = []
        self._follow = follow

    def comment(self, text: str) -> None:
        """Add a comment, which has no influence on the result."""
        self.entries.append(text)
        self._follow(text)

    def check(self, good: bool, name: str, diagnostics: str = '') -> bool:
        """Add a result and return it.

        @diagnostics are shown if it is not good.
        """
        self.entries.append(Result(good, name, diagnostics))
        self._follow(name if good else f'FAILED: {name}\n{diagnostics}')
        return good

    @property
    def results(self) -> list[Result]:
        return [entry for entry in self.entries if isinstance(entry, Result)]

    @property
    def failures(self) -> list[Result]:
        return [result for result in self.results if not result.good]

    @property
    def failed(self) -> int:
        """Return the number of failed checks."""
        return len(self.failures)


class TapWriter:
    """Writes results in the Test Anything Protocol, version 13.

    It repeats failures in @errors: meson shows only the standard error of a
    failed test, and keeps the diagnostics in its log.
    """

    def __init__(self, out: TextIO, errors: TextIO | None = None) -> None:
        self._out = out
        self._errors = errors
        self._count = 0
        self.failed = 0
        self._print('TAP version 13')

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def comment(self, text: str) -> None:
        for line in text.splitlines():
            self._print(f'# {line}')

    def add(self, result: Result, directive: str = '') -> None:
        """Write a test point.

        @directive: "SKIP" and the reason, for a test that was not run
        """
        self._count += 1
        # A "#" would begin a directive.
        name = ' '.join(result.name.replace('#', '').split())
        point = f'{"ok" if result.good else "not ok"} {self._count} - {name}'
        self._print(f'{point} # {directive}' if directive else point)
        if not result.good:
            self.failed += 1
            self.comment(result.diagnostics)
            self._print_error(f'{point}\n{result.diagnostics}')

    def _print_error(self, text: str) -> None:
        if self._errors:
            print(text.rstrip(), file=self._errors, flush=True)

    def add_all(self, checks: Checks) -> None:
        """Write the results and comments of a test."""
        for entry in checks.entries:
            if isinstance(entry, Result):
                self.add(entry)
            else:
                self.comment(entry)

    def skip_all(self, reason: str) -> None:
        """Write the plan of a program that is skipped."""
        self._print(f'1..0 # SKIP {reason}')

    def bail_out(self, reason: str) -> None:
        """Report that the remaining tests cannot be run."""
        self._print_error(reason)
        first, *rest = reason.splitlines() or ['']
        self._print(f'Bail out! {first}')
        self.comment('\n'.join(rest))

    def finish(self) -> bool:
        """Write the plan. Returns whether there are results, and all good."""
        if not self._count:
            self.bail_out('nothing was tested')
            return False
        self._print(f'1..{self._count}')
        return not self.failed
