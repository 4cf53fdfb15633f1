# SPDX-License-Identifier: GPL-2.0-or-later

"""Run the unit tests of one file and print the Test Anything Protocol."""

import argparse
import sys
import unittest
from pathlib import Path


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--top', type=Path, metavar='DIR',
                        help='folder from which modules are imported '
                        "(default: the file's folder)")
    parser.add_argument('file', type=Path, metavar='FILE')
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    try:
        from tap.runner import TAPTestRunner
    except ImportError:
        print("1..0 # SKIP tap.py is missing; it is in Debian's package "
              'python3-tap')
        return 0
    tests = unittest.defaultTestLoader.discover(
        str(args.file.parent), args.file.name,
        str(args.top or args.file.parent))
    runner = TAPTestRunner()
    runner.set_stream(True)
    return 0 if runner.run(tests).wasSuccessful() else 1


if __name__ == '__main__':
    sys.exit(main())
