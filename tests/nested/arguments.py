# SPDX-License-Identifier: GPL-2.0-or-later

"""Kinds of arguments that scripts have, for argparse."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """A number in these bounds, both included."""
    bounds = f'from {least} to {most}' if most is not None \
        else f'from {least} on'

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(
                f'"{text}" is no whole number {bounds}')
        return number
    return parse


def some_time(text: str) -> float:
    """A time, of whatever unit; it may be 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f'"{text}" is no time')
    return number


def output_file(text: str) -> Path:
    """A file to be written at the end of work that takes long."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f'"{text}" is a folder')
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(
            f'there is no folder "{path.parent}" for "{text}"')
    return path
