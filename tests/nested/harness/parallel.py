# SPDX-License-Identifier: GPL-2.0-or-later

"""Find races in parallel blocks: results that depend on the order of vCPUs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import permutations

from harness.intervals import IntervalSet
from harness.program import PAGE_SIZE, Machine


@dataclass
class Actions:
    """The actions of one vCPU in a parallel block."""

    # The state of each page after its last conversion
    to_shared: IntervalSet = field(default_factory=IntervalSet)
    to_private: IntervalSet = field(default_factory=IntervalSet)
    # Pages converted to either state
    converted: IntervalSet = field(default_factory=IntervalSet)
    written: IntervalSet = field(default_factory=IntervalSet)
    accessed: IntervalSet = field(default_factory=IntervalSet)
    # Pages at which DMA must arrive, and pages at which it is blocked
    reached: set[int] = field(default_factory=set)
    blocked: set[int] = field(default_factory=set)
    # Whether bus mastering is switched
    switches_master: bool = False

    def convert(self, start: int, end: int, to_private: bool) -> None:
        gains, loses = (self.to_private, self.to_shared) if to_private \
            else (self.to_shared, self.to_private)
        gains.add(start, end)
        loses.remove(start, end)
        self.converted.add(start, end)

    def access(self, start: int, end: int, is_write: bool) -> None:
        self.accessed.add(start, end)
        if is_write:
            self.written.add(start, end)

    def dma(self, page: int, blocked: bool) -> None:
        (self.blocked if blocked else self.reached).add(page)


def _common(a: IntervalSet, b: IntervalSet) -> int | None:
    """Return the first number in both sets, or None."""
    if len(a) > len(b):
        a, b = b, a
    for start, end in a:
        for first, _ in b.clipped(start, end):
            return first
    return None


def _union(sets: Iterable[IntervalSet]) -> IntervalSet:
    result = IntervalSet()
    for intervals in sets:
        for start, end in intervals:
            result.add(start, end)
    return result


def _dma_problem(machine: Machine, shared: IntervalSet, first: Actions,
                 others: list[Actions]) -> str:
    """Describe a conflict between DMA and the actions of the other vCPUs.

    An extent is unmapped for a moment when it is split or merged. It is never
    larger than the contiguous shared memory, before or during the block.
    """
    pages = IntervalSet((page, page + PAGE_SIZE)
                        for page in first.reached | first.blocked)
    touched = _union(each for actions in others
                     for each in (actions.converted, actions.written))
    at = _common(pages, touched)
    if at is not None:
        return f'DMA uses {at:#x}, which another vCPU converts or fills'
    if machine.shared_dma_extent == 'page':
        return ''
    pieces = _union([shared, first.converted,
                     *(actions.converted for actions in others)])
    for page in sorted(first.reached):
        for start, end in pieces:
            if not start <= page < end:
                continue
            if machine.dma_entry_limit and end - start > PAGE_SIZE:
                return f'{page:#x} has neighbours that are shared: its ' \
                       'mapping could be merged with theirs during DMA'
            if any(touched.clipped(start, end)):
                return f'{page:#x} has neighbours that another vCPU ' \
                       'converts: its mapping could be split during DMA'
    return ''


def find_race(machine: Machine, shared: IntervalSet,
              cpus: list[Actions]) -> str:
    """Describe a race in a parallel block, or return an empty string.

    @shared: the memory that is shared before the block
    @cpus: the actions of each vCPU; only the first one uses the device
    """
    for one, other in permutations(cpus, 2):
        at = _common(one.to_shared, other.to_private)
        if at is not None:
            return 'the result depends on which vCPU comes first: the state ' \
                   f'of {at:#x}'
        at = _common(one.accessed, other.converted)
        if at is None:
            at = _common(one.accessed, other.written)
        if at is not None:
            return 'the result depends on which vCPU comes first: what is ' \
                   f'read or written at {at:#x}'
    return _dma_problem(machine, shared, cpus[0], cpus[1:])
