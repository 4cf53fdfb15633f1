# SPDX-License-Identifier: GPL-2.0-or-later

"""The host's kernel log."""

import os
import re
from pathlib import Path

_RECORD_SIZE = 8192
# An error that Linux reports if a device accesses memory that is not mapped
# for it or that belongs to a guest: AMD-Vi, then VT-d
_FAULT = re.compile(
    r'Event logged \[(?:IO_PAGE_FAULT|RMP_PAGE_FAULT|RMP_HW_ERROR|'
    r'INVALID_DEVICE_REQUEST)|DMAR: \[DMA (?:Read|Write)|'
    r'DMAR: \[.*fault (?:addr|reason)')
# What the kernel says about confidential guests when it starts
_ABOUT = re.compile(r'(?i)\bSEV\b|SEV-|\bRMP\b|\btdx\b|AMD-Vi:|DMAR: IOMMU')


class KernelLog:
    """Reads new lines of the kernel's log each time it is asked."""

    def __init__(self, path: Path) -> None:
        """Open the log. Raises OSError if the user may not read it."""
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._fd)

    def skip(self) -> None:
        """Skip all lines that were logged until now."""
        os.lseek(self._fd, 0, os.SEEK_END)

    def lines(self) -> list[str]:
        """Return the lines that were logged since the last call."""
        text = ''
        while True:
            try:
                record = os.read(self._fd, _RECORD_SIZE)
            except BlockingIOError:
                break
            except BrokenPipeError:
                # The kernel has overwritten some records
                continue
            if not record:
                break
            text += record.decode(errors='replace')
        # Lines that begin with a space continue a record; they have no text
        return [line.partition(';')[2] for line in text.splitlines()
                if ';' in line and not line.startswith(' ')]


def faults_in(lines: list[str]) -> list[str]:
    """Return the lines that report a fault of an IOMMU."""
    return [line for line in lines if _FAULT.search(line)]


def about_guests(lines: list[str]) -> list[str]:
    """Return the lines about the support of confidential guests."""
    return [line for line in lines if _ABOUT.search(line)]
