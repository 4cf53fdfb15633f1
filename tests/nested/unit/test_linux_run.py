# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the comparisons of a Linux guest."""

import unittest

from harness.intervals import IntervalSet
from harness.linux_run import LinuxOptions, wrong_mappings

_SHARED = IntervalSet([(0x1000, 0x4000), (0x8000, 0x9000)])
_FEWER = IntervalSet([(0x1000, 0x2000), (0x3000, 0x4000), (0x8000, 0x9000)])
_MORE = IntervalSet([(0x1000, 0x5000), (0x8000, 0x9000)])
_NOTHING = IntervalSet()


class WrongMappingsTest(unittest.TestCase):

    def check(self, expected: list[str], opened: int, *levels: IntervalSet
              ) -> None:
        self.assertEqual(wrong_mappings(levels, _SHARED, opened), expected)

    def test_exact_mappings(self) -> None:
        self.check([], 1, _SHARED)
        self.check([], 2, _SHARED, _SHARED)
        self.check([], 1, _SHARED, _NOTHING)
        self.check([], 0, _NOTHING, _NOTHING)

    def test_page_that_is_missing_in_one_container(self) -> None:
        expected = ['not mapped by all open containers: 0x2000-0x2fff']
        self.check(expected, 1, _FEWER)
        self.check(expected, 2, _SHARED, _FEWER)

    def test_private_page_that_one_container_maps(self) -> None:
        expected = ['mapped, but should not be: 0x4000-0x4fff']
        self.check(expected, 1, _MORE)
        self.check(expected, 2, _MORE, _SHARED)
        self.check(expected, 1, _MORE, _NOTHING)
        self.check(expected * 2, 2, _MORE, _MORE)

    def test_closed_gate(self) -> None:
        self.check([], 1, _SHARED, _FEWER)
        self.check([], 0, _FEWER, _NOTHING)
        self.check(['mapped, but should not be: 0x4000-0x4fff'], 0, _MORE,
                   _NOTHING)


class LinuxOptionsTest(unittest.TestCase):

    def test_iommufd_objects(self) -> None:
        for backend, expected in (
                ('type1', ['', '']), ('iommufd', ['iommufd0', 'iommufd0']),
                ('type1+iommufd', ['', 'iommufd0']),
                ('iommufd+iommufd', ['iommufd0', 'iommufd1'])):
            options = LinuxOptions(backend)
            self.assertEqual([options.iommufd(number) for number
                              in range(2)], expected)
