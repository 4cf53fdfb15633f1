# SPDX-License-Identifier: GPL-2.0-or-later

"""Count the mappings of any QEMU by its calls to the kernel.

Stock QEMU does not report its mappings, and an event of the kernel is a part
of a mapping if the pages are scattered. kernel-edge writes successful calls to
level 1's trace if the field trace_maps of its control file is set.
"""

import re

from harness.trace import TraceReplay

_CALL = re.compile(
    r'\s(?P<number>\d+): tracing_mark_write: edge (?P<word>mapped|unmapped) '
    r'0x(?P<iova>[0-9a-f]+) 0x(?P<size>[0-9a-f]+)\s*$')


class MapCalls(TraceReplay):
    """The mappings that QEMU has created, and its calls."""

    def __init__(self, end: int) -> None:
        """@end: end of RAM; mappings that start there or above are ignored"""
        super().__init__()
        self._end = end
        self._calls: list[tuple[int, str, int, int]] = []
        # Size of each mapping, by its IOVA
        self._mapped: dict[int, int] = {}
        self.map_calls = 0
        self.unmap_calls = 0

    @property
    def entries(self) -> int:
        """The number of mappings at the last marker."""
        return len(self._mapped)

    @property
    def mapped_bytes(self) -> int:
        """The size of all mappings at the last marker."""
        return sum(self._mapped.values())

    def feed(self, line: str) -> str | None:
        call = _CALL.search(line)
        if call:
            self._calls.append((int(call['number']), call['word'],
                                int(call['iova'], 16), int(call['size'], 16)))
            return None
        marker = super().feed(line)
        if marker:
            for _, word, iova, size in sorted(self._calls):
                self._take(word, iova, size)
            self._calls.clear()
        return marker

    def _take(self, word: str, iova: int, size: int) -> None:
        if iova >= self._end:
            return
        if word == 'mapped':
            self.map_calls += 1
            self._mapped[iova] = size
            return
        # A call can remove many mappings, but only whole ones
        self.unmap_calls += 1
        if self._mapped.pop(iova, 0) != size:
            for at in list(self._mapped):
                if iova <= at < iova + size:
                    del self._mapped[at]
