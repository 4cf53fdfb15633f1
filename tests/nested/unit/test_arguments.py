# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the argument types."""

import argparse
import math
import tempfile
import unittest
from pathlib import Path

from harness.arguments import duration, integer, output_file, size


class ArgumentsTest(unittest.TestCase):

    def test_integer(self) -> None:
        parse = integer(1, 240)
        self.assertEqual([parse('1'), parse('240')], [1, 240])
        self.assertEqual(integer(1)('100000'), 100000)
        for text in ('0', '241', '-3', '1.5', 'x', ''):
            with self.assertRaisesRegex(argparse.ArgumentTypeError,
                                        'between 1 and 240'):
                parse(text)
        with self.assertRaisesRegex(argparse.ArgumentTypeError, '>= 1'):
            integer(1)('0')

    def test_time(self) -> None:
        self.assertEqual([duration('0'), duration('1.5')], [0, 1.5])
        for text in ('-1', 'nan', 'inf', str(-math.inf), 'x', ''):
            with self.assertRaisesRegex(argparse.ArgumentTypeError,
                                        'a number >= 0'):
                duration(text)

    def test_size(self) -> None:
        self.assertEqual([size('1M'), size('2g'), size('3T')],
                         [1 << 20, 2 << 30, 3 << 40])
        for text in ('0M', '1', '1K', 'M', '-1M', '1.5G', ''):
            with self.assertRaisesRegex(argparse.ArgumentTypeError,
                                        'a size such as'):
                size(text)

    def test_output_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'new'
            self.assertEqual(output_file(str(path)), path)
            with self.assertRaisesRegex(argparse.ArgumentTypeError,
                                        'is a directory'):
                output_file(folder)
            with self.assertRaisesRegex(argparse.ArgumentTypeError,
                                        'there is no directory'):
                output_file(f'{folder}/none/new')
        self.assertEqual(output_file('here'), Path('here'))
