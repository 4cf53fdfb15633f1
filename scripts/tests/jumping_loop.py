# SPDX-License-Identifier: GPL-2.0-or-later

"""Run coroutines that sleep, without waiting."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _JumpingSelector(selectors.SelectSelector):
    """Lets time pass at once where another selector would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None
               ) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class _JumpingLoop(asyncio.SelectorEventLoop):

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine by a clock that jumps to the end of each sleep.

    How often a loop with a time limit is executed then does not depend on the
    load of the machine.
    """
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        runner.run(coroutine)
