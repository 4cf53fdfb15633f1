# SPDX-License-Identifier: GPL-2.0-or-later

"""What the kernel did: trace events of its IOMMU layer, replayed.

The stream is what the kernel's trace_pipe says with trace_clock "counter",
which numbers the events of all processors in one order.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter

from intervals import IntervalSet

_EVENT = re.compile(
    r'\s(?P<number>\d+): (?P<name>map|unmap): IOMMU: '
    r'iova=0x(?P<iova>[0-9a-f]+) - 0x[0-9a-f]+ '
    r'(?:paddr=0x[0-9a-f]+ )?size=(?P<size>\d+)'
    r'(?: unmapped_size=(?P<unmapped>\d+))?')
_MARKER = re.compile(r'\s(?P<number>\d+): tracing_mark_write: (?P<text>.*)')
_LOST = re.compile(r'LOST (?P<count>\d+) EVENTS')


class TraceError(Exception):
    """The stream says something that cannot be."""


class MapReplay:
    """The IOVAs that are mapped, and by how many map events."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        # End of the piece, and which map event it is a piece of
        self._pieces: list[tuple[int, int]] = []
        self._pieces_of: Counter[int] = Counter()
        self._events = 0
        self.peak_events = 0

    @property
    def live_events(self) -> int:
        """Number of map events of which something is still mapped."""
        return len(self._pieces_of)

    @property
    def total_events(self) -> int:
        """Number of map events there have ever been."""
        return self._events

    def live_events_in(self, start: int, end: int) -> int:
        """Number of map events of which something is mapped in there."""
        low, high = self._overlapping(start, end)
        return len({event for _, event in self._pieces[low:high]})

    def mapped(self) -> IntervalSet:
        return IntervalSet(
            (start, end) for start, (end, _)
            in zip(self._starts, self._pieces))

    def _overlapping(self, start: int, end: int) -> tuple[int, int]:
        low = bisect_right(self._starts, start)
        if low and self._pieces[low - 1][0] > start:
            low -= 1
        return low, bisect_left(self._starts, end)

    def map(self, start: int, size: int) -> None:
        low, high = self._overlapping(start, start + size)
        if low < high:
            raise TraceError(f'{start:#x}+{size:#x} was mapped a second time')
        self._starts.insert(low, start)
        self._pieces.insert(low, (start + size, self._events))
        self._pieces_of[self._events] = 1
        self._events += 1
        self.peak_events = max(self.peak_events, self.live_events)

    def unmap(self, start: int, size: int) -> None:
        end = start + size
        low, high = self._overlapping(start, end)
        unmapped = 0
        rest = []
        touched = set()
        for at in range(low, high):
            piece_start = self._starts[at]
            piece_end, event = self._pieces[at]
            unmapped += min(end, piece_end) - max(start, piece_start)
            self._pieces_of[event] -= 1
            touched.add(event)
            if piece_start < start:
                rest.append((piece_start, start, event))
            if piece_end > end:
                rest.append((end, piece_end, event))
        self._starts[low:high] = [piece[0] for piece in rest]
        self._pieces[low:high] = [piece[1:] for piece in rest]
        for piece in rest:
            self._pieces_of[piece[2]] += 1
        for event in touched:
            if not self._pieces_of[event]:
                del self._pieces_of[event]
        if unmapped != size:
            raise TraceError(f'{start:#x}+{size:#x} was unmapped, but only '
                             f'{unmapped:#x} bytes of it were mapped')


class TraceReplay:
    """Takes the lines of the stream and keeps a MapReplay up to date."""

    def __init__(self) -> None:
        self.maps = MapReplay()
        self.lost = 0
        self.errors: list[str] = []
        self._pending: list[tuple[int, str, int, int]] = []

    def feed(self, line: str) -> str | None:
        """Takes a line. Returns the text of a marker.

        Events take effect at the next marker: until then, those of another
        processor that came before them can still follow.
        """
        event = _EVENT.search(line)
        if event:
            size = event['unmapped'] or event['size']
            self._pending.append((int(event['number']), event['name'],
                                  int(event['iova'], 16), int(size)))
            return None
        marker = _MARKER.search(line)
        if marker:
            self._apply()
            return marker['text']
        lost = _LOST.search(line)
        if lost:
            self.lost += int(lost['count'])
        elif line.strip():
            self.errors.append(f'not understood: {line.strip()}')
        return None

    def _apply(self) -> None:
        for _, name, iova, size in sorted(self._pending):
            try:
                if name == 'map':
                    self.maps.map(iova, size)
                elif size:
                    self.maps.unmap(iova, size)
            except TraceError as error:
                self.errors.append(str(error))
        self._pending.clear()
