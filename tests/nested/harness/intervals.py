# SPDX-License-Identifier: GPL-2.0-or-later

"""Sets of integers, stored as intervals."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


# Maximum number of intervals to describe
_SHOWN = 8


class IntervalSet:
    """A set of integers with an interface of [start, end) intervals.

    Adjacent intervals are merged, so that equal sets have equal intervals.
    """

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._total = 0
        for start, end in intervals:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends)

    def __len__(self) -> int:
        """The number of intervals."""
        return len(self._starts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IntervalSet):
            return NotImplemented
        return self._starts == other._starts and self._ends == other._ends

    def __repr__(self) -> str:
        return 'IntervalSet([' + ', '.join(
            f'({start:#x}, {end:#x})' for start, end in self) + '])'

    def copy(self) -> 'IntervalSet':
        other = IntervalSet()
        other._starts = self._starts[:]
        other._ends = self._ends[:]
        other._total = self._total
        return other

    def total(self) -> int:
        """Return the number of integers in the set."""
        return self._total

    def _replace(self, low: int, high: int,
                 intervals: list[tuple[int, int]]) -> None:
        """Replace the intervals with an index in [low, high)."""
        self._total += sum(end - start for start, end in intervals) - \
            sum(self._ends[low:high]) + sum(self._starts[low:high])
        self._starts[low:high] = [start for start, _ in intervals]
        self._ends[low:high] = [end for _, end in intervals]

    def add(self, start: int, end: int) -> None:
        if start >= end:
            return
        # Merge overlapping and adjacent intervals into the new one
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
        self._replace(low, high, [(start, end)])

    def remove(self, start: int, end: int) -> None:
        if start >= end:
            return
        low = bisect_right(self._ends, start)
        high = bisect_left(self._starts, end)
        if low >= high:
            return
        rest = []
        if self._starts[low] < start:
            rest.append((self._starts[low], start))
        if self._ends[high - 1] > end:
            rest.append((end, self._ends[high - 1]))
        self._replace(low, high, rest)

    def covers(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is in the set."""
        at = bisect_right(self._starts, start) - 1
        return start >= end or (at >= 0 and self._ends[at] >= end)

    def clipped(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of [start, end) that are in the set."""
        at = bisect_right(self._ends, start)
        while at < len(self._starts) and self._starts[at] < end:
            yield max(start, self._starts[at]), min(end, self._ends[at])
            at += 1

    def common(self, other: 'IntervalSet') -> 'IntervalSet':
        """Return what is in both sets."""
        return IntervalSet(part for interval in self
                           for part in other.clipped(*interval))

    def minus(self, other: 'IntervalSet') -> 'IntervalSet':
        result = self.copy()
        for start, end in other:
            result.remove(start, end)
        return result


def describe(intervals: IntervalSet) -> str:
    """Return the first intervals of a set as text."""
    shown = [f'{start:#x}-{end - 1:#x}' for start, end in intervals]
    more = len(shown) - _SHOWN
    return ', '.join(shown[:_SHOWN]) + (f' and {more} more' if more > 0
                                        else '')
