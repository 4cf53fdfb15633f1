# SPDX-License-Identifier: GPL-2.0-or-later

"""The policy for a level 1 machine that hangs, for all tests and commands."""

from collections.abc import Callable
from typing import TypeVar

from harness.l1 import L1Hung

_T = TypeVar('_T')

# Beginning of the report of a repeated attempt
REPEATED = 'repeated, because the level 1 machine hung'


def repeat_if_hung(attempt: Callable[[], _T],
                   report: Callable[[str], None]) -> _T:
    """Call @attempt, and once more if the level 1 machine hung in it.

    Nested virtualization under TCG can lose a wake-up on a busy machine. Such
    a hang is not a failure of the test. If it happens twice in a row, the test
    may be the cause, and the second L1Hung is raised.

    @report is called with the reason of the repetition.
    """
    try:
        return attempt()
    except L1Hung as error:
        report(f'{REPEATED}: {error}')
    return attempt()
