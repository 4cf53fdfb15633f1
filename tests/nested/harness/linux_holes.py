# SPDX-License-Identifier: GPL-2.0-or-later

"""Let a Linux guest take back memory beside memory that devices use.

See dma-holes/, which is a part of the guest's kernel.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from harness.linux_guest import LinuxGuest

_FOLDER = '/sys/kernel/debug/dma-holes'

# Arguments for the guest's kernel: 64 MiB of bounce buffers, from which all
# processors take the next ones. The buffers of the drivers and those that are
# taken back are therefore neighbours.
HOLE_ARGUMENTS = 'swiotlb=32768,1'


class Converter(StrEnum):
    """A thread of the guest's kernel that converts memory."""

    HOLES = 'holes'
    SINGLE_PAGES = 'pages'


class Converters:
    """Controls the threads."""

    def __init__(self, guest: LinuxGuest) -> None:
        self._guest = guest

    def _read(self, name: str) -> int:
        return int(self._guest.check(f'cat {_FOLDER}/{name}'))

    def conversions(self) -> int:
        """Return the number of conversions so far."""
        return self._read('conversions')

    def failures(self) -> int:
        """Return the number of failed conversions."""
        return self._read('failures')

    @contextmanager
    def running(self, *names: Converter) -> Iterator[None]:
        """Let these threads convert memory. It is shared again at the end."""
        for name in names:
            self._guest.check(f'echo 1 >{_FOLDER}/{name}')
        yield
        for name in names:
            self._guest.check(f'echo 0 >{_FOLDER}/{name}')
