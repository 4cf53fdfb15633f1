# SPDX-License-Identifier: GPL-2.0-or-later

"""Replay trace events of the kernel's IOMMU layer.

The stream is the kernel's trace_pipe with trace_clock "counter", which numbers
the events of all processors in one order. It includes lines that kernel-edge/
writes before and after QEMU changes memory.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator

from harness.intervals import IntervalSet

# The number is what the trace's clock shows
EVENT = re.compile(
    r'\s(?P<number>\d+): (?P<name>map|unmap): IOMMU: '
    r'iova=0x(?P<iova>[0-9a-f]+) - 0x[0-9a-f]+ '
    r'(?:paddr=0x[0-9a-f]+ )?size=(?P<size>\d+)'
    r'(?: unmapped_size=(?P<unmapped>\d+))?')
_EDGE = re.compile(
    r'\s(?P<number>\d+): tracing_mark_write: edge (?P<word>[a-z]+) '
    r'0x(?P<gpa>[0-9a-f]+) 0x(?P<size>[0-9a-f]+)\s*$')
_MARKER = re.compile(r'\s(?P<number>\d+): tracing_mark_write: (?P<text>.*)')
_LOST = re.compile(r'LOST (?P<count>\d+) EVENTS')


class TraceError(Exception):
    """The stream has an impossible event."""


class MapReplay:
    """The IOVAs that are mapped, and the map events that mapped them."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        # End of each piece, and the number of its map event
        self._pieces: list[tuple[int, int]] = []
        self._pieces_of: Counter[int] = Counter()
        self._events = 0
        self.peak_events = 0

    @property
    def live_events(self) -> int:
        """The number of map events that are still mapped at least partly."""
        return len(self._pieces_of)

    @property
    def total_events(self) -> int:
        """The number of map events so far."""
        return self._events

    def live_events_in(self, start: int, end: int) -> int:
        """Count map events that are mapped in [start, end)."""
        low, high = self._overlapping(start, end)
        return len({event for _, event in self._pieces[low:high]})

    def mapped(self) -> IntervalSet:
        return IntervalSet(
            (start, end) for start, (end, _)
            in zip(self._starts, self._pieces))

    def mapped_in(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the mapped parts of [start, end)."""
        for at in range(*self._overlapping(start, end)):
            yield max(start, self._starts[at]), min(end, self._pieces[at][0])

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


class MapLevels:
    """The IOVAs that are mapped, and in how many containers.

    Events do not name their container, so that they can only be counted. An
    IOVA is mapped at most once in each container: if as many map it as there
    are containers, all of them do.
    """

    def __init__(self, containers: int = 1) -> None:
        # The IOVAs that at least 1, 2, ... containers map. A map event that
        # another container also maps in part is several events in its levels.
        self._levels = [MapReplay() for _ in range(containers)]

    @property
    def any(self) -> MapReplay:
        """The IOVAs that at least one container maps."""
        return self._levels[0]

    def mapped(self) -> list[IntervalSet]:
        """Return the IOVAs that at least 1, 2, ... containers map."""
        return [level.mapped() for level in self._levels]

    def count_containers(self, ranges: IntervalSet) -> int:
        """Return the maximum number of containers that map an IOVA."""
        return sum(any(any(level.mapped_in(*part)) for part in ranges)
                   for level in self._levels)

    def map(self, start: int, size: int) -> None:
        end = start + size
        if any(self._levels[-1].mapped_in(start, end)):
            raise TraceError(f'{start:#x}+{size:#x} was mapped, and all '
                             'containers map a part of it already')
        rest = IntervalSet([(start, end)])
        for level in self._levels:
            mapped = _parts_of(level, rest)
            for part_start, part_end in rest.minus(mapped):
                level.map(part_start, part_end - part_start)
            rest = mapped

    def unmap(self, start: int, size: int) -> None:
        rest = IntervalSet([(start, start + size)])
        for level in reversed(self._levels):
            mapped = _parts_of(level, rest)
            for part_start, part_end in mapped:
                level.unmap(part_start, part_end - part_start)
            rest = rest.minus(mapped)
        if rest:
            raise TraceError(f'{start:#x}+{size:#x} was unmapped, but '
                             f'{rest.total():#x} bytes of it were not mapped')


def _parts_of(maps: MapReplay, ranges: IntervalSet) -> IntervalSet:
    """Return the parts of ranges that are mapped."""
    return IntervalSet(part for start, end in ranges
                       for part in maps.mapped_in(start, end))


class EdgeReplay:
    """Tracks private memory, and whether devices could access it.

    An IOMMU entry must never cover private memory, or memory whose shared
    backing is freed. IOVAs are guest addresses.
    """

    def __init__(self) -> None:
        self.private = IntervalSet()
        # Ranges of memory slots, and private memory without a slot: KVM keeps
        # attributes when a slot is removed
        self.slots = IntervalSet()
        self._hidden = IntervalSet()
        # Memory that was allocated, because it was mapped, and not freed
        self.backed = IntervalSet()
        # Descriptions of violations, and the memory concerned
        self.exposures: list[str] = []
        self.exposed = IntervalSet()
        # Number of lines with each word
        self.counts: Counter[str] = Counter()
        # Number of containers being attached to: the kernel then maps its own
        # pages to probe the IOMMU
        self._attaching = 0
        # Private memory before a conversion that may still fail
        self._before: dict[tuple[int, int], IntervalSet] = {}

    def note_map(self, start: int, size: int) -> None:
        """Record that a range is about to be mapped."""
        if self._attaching:
            return
        private = IntervalSet(self.private.clipped(start, start + size))
        if private:
            self._expose(private, f'{start:#x}+{size:#x} was mapped while '
                         f'private: {private}')
        self.backed.add(start, start + size)

    def _expose(self, memory: IntervalSet, text: str) -> None:
        self.exposures.append(text)
        for part in memory:
            self.exposed.add(*part)

    def take_exposures(self) -> tuple[list[str], IntervalSet]:
        """Return the violations so far, and clear them."""
        taken = self.exposures, self.exposed
        self.exposures, self.exposed = [], IntervalSet()
        return taken

    def _check_not_mapped(self, maps: MapReplay, start: int, end: int,
                          what: str) -> None:
        mapped = IntervalSet(maps.mapped_in(start, end))
        if mapped:
            self._expose(mapped, f'{start:#x}+{end - start:#x} {what} while '
                         f'mapped: {mapped}')

    def check_all(self, maps: MapReplay) -> None:
        """Record private memory that is mapped now as a violation."""
        for start, end in self.private:
            self._check_not_mapped(maps, start, end, 'is private')

    def _make_private(self, parts: IntervalSet) -> None:
        visible = parts.common(self.slots)
        for part in visible:
            self.private.add(*part)
        for part in parts.minus(visible):
            self._hidden.add(*part)

    def _take_private(self, start: int, end: int) -> IntervalSet:
        """Make a range shared. Returns its private parts."""
        taken = IntervalSet([*self.private.clipped(start, end),
                             *self._hidden.clipped(start, end)])
        self.private.remove(start, end)
        self._hidden.remove(start, end)
        return taken

    def _set_private(self, start: int, size: int, maps: MapReplay) -> None:
        for part in self.slots.clipped(start, start + size):
            self._check_not_mapped(maps, *part, 'became private')
        self._before[start, size] = self._take_private(start, start + size)
        self._make_private(IntervalSet([(start, start + size)]))

    def _keep(self, start: int, size: int) -> None:
        self._take_private(start, start + size)
        self._make_private(self._before.pop((start, size), IntervalSet()))

    def _set_slot(self, start: int, end: int, there: bool) -> None:
        private = self._take_private(start, end)
        if there:
            self.slots.add(start, end)
        else:
            self.slots.remove(start, end)
        self._make_private(private)

    def take(self, word: str, start: int, size: int, maps: MapReplay) -> None:
        """Process a line of kernel-edge. @maps has the current mappings."""
        self.counts[word] += 1
        match word:
            case 'private':
                self._set_private(start, size, maps)
            case 'kept':
                self._keep(start, size)
            case 'shared':
                self._take_private(start, start + size)
            case 'slot' | 'gone':
                self._set_slot(start, start + size, word == 'slot')
            case 'free':
                self._check_not_mapped(maps, start, start + size, 'was freed')
                self.backed.remove(start, start + size)
            case 'attaching':
                self._attaching += 1
            case 'attached':
                self._attaching -= 1
            case _:
                raise TraceError(f'not understood: {word} {start:#x}+'
                                 f'{size:#x}')


class RemapReplay:
    """Counts memory that was unmapped and mapped again while it was shared.

    A device that accesses it in between is disturbed. Memory does not count if
    it became private in between, or if nothing remained mapped in a container,
    because then none of its devices may do DMA.
    """

    def __init__(self) -> None:
        self._remapped_bytes = 0
        self._unmapped = IntervalSet()
        # Number of containers that map any of the guest's memory
        self._containers = 0

    def note_unmap(self, memory: IntervalSet, containers: int) -> None:
        """Record that memory was unmapped.

        @containers: number of containers that still map any memory
        """
        for part in memory:
            self._unmapped.add(*part)
        if containers < self._containers:
            self._unmapped = IntervalSet()
        self._containers = containers

    def note_map(self, memory: IntervalSet, containers: int) -> None:
        """Record that memory was mapped.

        @containers: number of containers that now map any memory
        """
        for part in memory:
            self._remapped_bytes += sum(
                end - start for start, end in self._unmapped.clipped(*part))
            self._unmapped.remove(*part)
        self._containers = containers

    def take_remapped(self) -> int:
        """Return the number of bytes since the last call."""
        remapped, self._remapped_bytes = self._remapped_bytes, 0
        return remapped

    def note_private(self, start: int, size: int) -> None:
        """Record that a range became private."""
        self._unmapped.remove(start, start + size)


class TraceReplay:
    """Processes the lines of the stream, and updates the replays."""

    def __init__(self, containers: int = 1) -> None:
        """@containers: maximum number of VFIO containers at a time"""
        self.levels = MapLevels(containers)
        self.maps = self.levels.any
        self.edge = EdgeReplay()
        self.remaps = RemapReplay()
        self.lost = 0
        self.errors: list[str] = []
        self._pending: list[tuple[int, str, int, int]] = []

    def feed(self, line: str) -> str | None:
        """Process a line. Returns the text of a marker, or None.

        Events take effect at the next marker, because earlier events of other
        processors can follow until then.
        """
        event = EVENT.search(line)
        if event:
            size = event['unmapped'] or event['size']
            self._pending.append((int(event['number']), event['name'],
                                  int(event['iova'], 16), int(size)))
            return None
        edge = _EDGE.search(line)
        if edge:
            self._pending.append((int(edge['number']), edge['word'],
                                  int(edge['gpa'], 16), int(edge['size'], 16)))
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

    def _memory(self, start: int, size: int) -> IntervalSet:
        """Return the parts of a range that are the guest's memory."""
        return IntervalSet(self.edge.slots.clipped(start, start + size))

    def _containers(self) -> int:
        """Return how many containers map any of the guest's memory."""
        return self.levels.count_containers(self.edge.slots)

    def _apply_one(self, name: str, start: int, size: int) -> None:
        if name == 'map':
            self.edge.note_map(start, size)
            self.levels.map(start, size)
            self.remaps.note_map(self._memory(start, size),
                                 self._containers())
        elif name == 'unmap':
            if size:
                self.levels.unmap(start, size)
                self.remaps.note_unmap(self._memory(start, size),
                                       self._containers())
        else:
            if name == 'private':
                self.remaps.note_private(start, size)
            self.edge.take(name, start, size, self.maps)

    def _apply(self) -> None:
        for _, name, start, size in sorted(self._pending):
            try:
                self._apply_one(name, start, size)
            except TraceError as error:
                self.errors.append(str(error))
        self.edge.check_all(self.maps)
        self._pending.clear()
