# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the interval sets, against sets of integers."""

import random
import unittest

from harness.intervals import IntervalSet


class IntervalSetTest(unittest.TestCase):

    def assert_holds(self, intervals: IntervalSet, naive: set[int]) -> None:
        pairs = list(intervals)
        self.assertEqual({n for start, end in pairs
                          for n in range(start, end)}, naive)
        self.assertEqual(intervals.total(), len(naive))
        self.assertEqual(intervals.copy().total(), len(naive))
        for start, end in pairs:
            self.assertLess(start, end)
        for (_, end), (start, _) in zip(pairs, pairs[1:]):
            self.assertLess(end, start, 'intervals that touch are not joined')

    def test_against_set(self) -> None:
        rng = random.Random(1)
        for _ in range(200):
            intervals = IntervalSet()
            naive: set[int] = set()
            for _ in range(40):
                start = rng.randrange(60)
                end = start + rng.randrange(12)
                if rng.random() < 0.5:
                    intervals.add(start, end)
                    naive |= set(range(start, end))
                else:
                    intervals.remove(start, end)
                    naive -= set(range(start, end))
                self.assert_holds(intervals, naive)
                low = rng.randrange(60)
                high = low + rng.randrange(12)
                self.assertEqual(intervals.covers(low, high),
                                 set(range(low, high)) <= naive)
                self.assertEqual(
                    {n for start, end in intervals.clipped(low, high)
                     for n in range(start, end)},
                    set(range(low, high)) & naive)

    def test_joins_neighbours(self) -> None:
        intervals = IntervalSet([(0, 4), (8, 12)])
        intervals.add(4, 8)
        self.assertEqual(list(intervals), [(0, 12)])
        self.assertEqual(len(intervals), 1)

    def test_splits(self) -> None:
        intervals = IntervalSet([(0, 12)])
        intervals.remove(4, 8)
        self.assertEqual(list(intervals), [(0, 4), (8, 12)])
        intervals.remove(0, 12)
        self.assertEqual(list(intervals), [])

    def test_top_of_64_bits(self) -> None:
        intervals = IntervalSet([((1 << 64) - 4096, 1 << 64)])
        self.assertTrue(intervals.covers((1 << 64) - 4096, 1 << 64))
        self.assertEqual(intervals.total(), 4096)

    def test_common(self) -> None:
        some = IntervalSet([(0, 10), (20, 30), (40, 50)])
        other = IntervalSet([(5, 25), (28, 29), (50, 60)])
        self.assertEqual(list(some.common(other)),
                         [(5, 10), (20, 25), (28, 29)])
        self.assertEqual(some.common(other), other.common(some))
        self.assertEqual(len(some.common(IntervalSet())), 0)

    def test_minus_and_copy(self) -> None:
        whole = IntervalSet([(0, 10), (20, 30)])
        part = whole.minus(IntervalSet([(5, 25)]))
        self.assertEqual(list(part), [(0, 5), (25, 30)])
        self.assertEqual(list(whole), [(0, 10), (20, 30)])
        self.assertNotEqual(part, whole)
        self.assertEqual(whole.copy(), whole)
