# SPDX-License-Identifier: GPL-2.0-or-later

"""Results in the Test Anything Protocol."""

import sys
from typing import TextIO


class Tap:
    """Prints results as they come, and the plan at the end."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._count = 0
        self.failed = 0

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def comment(self, text: str) -> None:
        for line in text.splitlines():
            self._print(f'# {line}')

    def check(self, good: bool, name: str, diagnostics: str = '') -> bool:
        """A result; the diagnostics are for one that is not good."""
        self._count += 1
        # A "#" would begin a directive.
        name = name.replace('#', '')
        self._print(f'{"ok" if good else "not ok"} {self._count} - {name}')
        if not good:
            self.failed += 1
            self.comment(diagnostics)
        return good

    def bail_out(self, reason: str) -> None:
        """The test cannot go on, for a reason that is none of its own."""
        first, *rest = reason.splitlines()
        self._print(f'Bail out! {first}')
        self.comment('\n'.join(rest))

    def finish(self) -> bool:
        """Prints the plan. Returns whether there were results, all good."""
        self._print(f'1..{self._count}')
        return bool(self._count) and not self.failed
