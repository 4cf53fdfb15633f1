# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the kinds of arguments."""

import argparse
import math
import tempfile
import unittest
from pathlib import Path

from arguments import output_file, some_time, whole_number


class ArgumentsTest(unittest.TestCase):

    def test_whole_number(self) -> None:
        parse = whole_number(1, 240)
        self.assertEqual([parse('1'), parse('240')], [1, 240])
        self.assertEqual(whole_number(1)('100000'), 100000)
        for text in ('0', '241', '-3', '1.5', 'x', ''):
            with self.assertRaisesRegex(argparse.ArgumentTypeError,
                                        'from 1 to 240'):
                parse(text)
        with self.assertRaisesRegex(argparse.ArgumentTypeError, 'from 1 on'):
            whole_number(1)('0')

    def test_time(self) -> None:
        self.assertEqual([some_time('0'), some_time('1.5')], [0, 1.5])
        for text in ('-1', 'nan', 'inf', str(-math.inf), 'x', ''):
            with self.assertRaisesRegex(argparse.ArgumentTypeError,
                                        'is no time'):
                some_time(text)

    def test_output_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'new'
            self.assertEqual(output_file(str(path)), path)
            with self.assertRaisesRegex(argparse.ArgumentTypeError,
                                        'is a folder'):
                output_file(folder)
            with self.assertRaisesRegex(argparse.ArgumentTypeError,
                                        'there is no folder'):
                output_file(f'{folder}/none/new')
        self.assertEqual(output_file('here'), Path('here'))


if __name__ == '__main__':
    unittest.main()
