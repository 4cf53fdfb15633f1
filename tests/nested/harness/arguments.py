# SPDX-License-Identifier: GPL-2.0-or-later

"""Types of command line arguments, for argparse."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

_SUFFIXES = {'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}


def integer(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a type for integers from @least to @most, both inclusive."""
    bounds = f'>= {least}' if most is None else f'between {least} and {most}'

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(
                f'"{text}" must be an integer {bounds}')
        return number
    return parse


def duration(text: str) -> float:
    """Convert a time, which must not be negative."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f'"{text}" must be a number >= 0')
    return number


def size(text: str) -> int:
    """Convert a size with a suffix to bytes."""
    number, suffix = text[:-1], text[-1:].upper()
    if suffix not in _SUFFIXES or not number.isdigit() or not int(number):
        raise argparse.ArgumentTypeError(
            f'"{text}" must be a size such as 512M or 2G')
    return int(number) * _SUFFIXES[suffix]


def output_file(text: str) -> Path:
    """Convert the name of an output file; check now that it can be created."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f'"{text}" is a directory')
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(
            f'"{text}": there is no directory "{path.parent}"')
    return path
