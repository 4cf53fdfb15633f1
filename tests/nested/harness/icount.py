# SPDX-License-Identifier: GPL-2.0-or-later

"""Count the instructions that the level 1 machine and its guest execute.

If L0 counts instructions, level 1's clock advances by 1 ns with each of them,
and also while its processor is idle. The kernel measures this idle time.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from harness.initramfs import MissingError
from harness.l1 import L1Error, L1Machine

_NOW = re.compile(r'^now at (\d+) nsecs$', re.M)
_IDLE = re.compile(r'^\s+\.(?:idle|iowait)_sleeptime\s*: (\d+)', re.M)
# KVM must not poll before it lets an idle vCPU sleep: it polls for a fixed
# time, which is a number of instructions
_SET_UP = 'echo 0 >/sys/module/kvm/parameters/halt_poll_ns'


@dataclass(frozen=True)
class Cost:
    """The instructions for one operation, in each repetition."""

    instructions: tuple[int, ...]

    @property
    def median(self) -> int:
        return sorted(self.instructions)[len(self.instructions) // 2]


def parse_busy_time(text: str) -> int:
    """Return the instructions so far, from /proc/timer_list.

    Raises MissingError if the kernel does not report idle times there.
    """
    now = _NOW.search(text)
    idle = _IDLE.findall(text)
    if now and not idle:
        raise MissingError(
            'instructions cannot be counted: /proc/timer_list of this kernel '
            'has no idle time (Linux 6.12 has it)')
    if not now or len(idle) != 2:
        raise L1Error('/proc/timer_list of level 1 does not have the idle '
                      f'time of exactly one processor:\n{text}')
    return int(now[1]) - sum(map(int, idle))


def cost_each(before: int, between: int, after: int, few: int, many: int
              ) -> int:
    """Return the instructions for one operation.

    @few operations were executed from @before to @between, and @many until
    @after. What both executions have in common cancels out.
    """
    if not 0 < few < many:
        raise ValueError(f'{few} operations must be fewer than {many}')
    return round((after - between - (between - before)) / (many - few))


class InstructionCounter:
    """Counts the instructions of operations in the level 1 machine."""

    def __init__(self, l1: L1Machine) -> None:
        self._l1 = l1
        l1.check(_SET_UP)
        # Fail early if the kernel has no idle times
        self.now()

    def now(self) -> int:
        """Return the number of instructions so far."""
        return parse_busy_time(self._l1.check('cat /proc/timer_list'))

    def measure(self, execute: Callable[[int], None], few: int, many: int,
                repetitions: int) -> Cost:
        """Measure the instructions for one operation.

        @execute(n) executes n operations.
        """
        execute(few)
        costs = []
        for _ in range(repetitions):
            before = self.now()
            execute(few)
            between = self.now()
            execute(many)
            costs.append(cost_each(before, between, self.now(), few, many))
        return Cost(tuple(costs))
