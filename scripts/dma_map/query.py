# SPDX-License-Identifier: GPL-2.0-or-later

"""Query, record and rasterize the state of shared memory and DMA to it.

A snapshot is the result of both queries. It is recorded as a line of JSON,
with the cells of its windows as runs of equal cells. Pictures depend only on
snapshots, so that a recorded session looks exactly as it did live.
"""

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, TextIO, TypeVar

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
PAGE_SIZE = 4096

# Maximum number of cells that QEMU divides a window into
QUERY_CELLS = 4096
# Parts of the address space with smaller gaps are shown as one
_GAP_MIN = 2 * MIB
_GAP_SHARE = 256
_MAX_PARTS = 8

_FORMAT = 'dma-map-view'
_VERSION = 1

Snapshot = dict[str, Any]
Execute = Callable[[str, dict[str, Any]], Any]
_T = TypeVar('_T')
# Yields commands with their arguments, and returns the result
Steps = Generator[tuple[str, dict[str, Any]], Any, _T]


class MapError(Exception):
    """A file that is not a session, or an invalid window."""


# Taking a snapshot

@dataclass(frozen=True)
class Range:
    """A range of guest physical addresses."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    def cut(self, start: int, end: int) -> 'Range | None':
        """Return the part of the range in [start, end)."""
        cut = Range(max(self.start, start), min(self.end, end))
        return cut if cut.size > 0 else None


def sections_of(snapshot: Snapshot) -> list[Range]:
    """Return the guest addresses of memory that can be converted."""
    return sorted((Range(section['gpa'], section['gpa'] + section['size'])
                   for block in snapshot['guest-memfd']
                   for section in block['sections']),
                  key=lambda part: part.start)


def join_near(sections: Iterable[Range]) -> list[Range]:
    """Return the parts of the address space that are shown separately."""
    parts = list(sections)
    limit = max(_GAP_MIN, sum(part.size for part in parts) // _GAP_SHARE)
    joined: list[Range] = []
    for part in parts:
        if joined and part.start - joined[-1].end < limit:
            joined[-1] = Range(joined[-1].start, max(joined[-1].end, part.end))
        else:
            joined.append(part)
    while len(joined) > _MAX_PARTS:
        near = min(range(1, len(joined)),
                   key=lambda i: joined[i].start - joined[i - 1].end)
        joined[near - 1:near + 1] = [Range(joined[near - 1].start,
                                           joined[near].end)]
    return joined


def _pack(window: dict[str, Any]) -> dict[str, Any]:
    """Replace cells by runs: [number of cells, value]."""
    runs: list[list[Any]] = []
    for cell in window.get('cells', []):
        value = [cell['size'], cell['mapped']] if isinstance(cell, dict) \
            else cell
        if runs and runs[-1][1] == value:
            runs[-1][0] += 1
        else:
            runs.append([1, value])
    return {'start': window['start'], 'size': window['size'],
            'cell-size': window.get('cell-size', PAGE_SIZE), 'runs': runs}


def _ask(part: Range) -> dict[str, Any]:
    return {'start': part.start, 'size': part.size, 'max': 1,
            'cells': QUERY_CELLS}


def _block_parts(block: dict[str, Any], wanted: Range | None) -> list[Range]:
    """Return the parts of a RAM block that are shown."""
    if not wanted:
        return [Range(0, block['size'])] if block['sections'] else []
    parts = []
    for section in block['sections']:
        gpa = section['gpa']
        cut = Range(gpa, gpa + section['size']).cut(wanted.start, wanted.end)
        if cut:
            shift = section['offset'] - gpa
            parts.append(Range(cut.start + shift, cut.end + shift))
    return join_near(sorted(parts, key=lambda part: part.start))


def _ask_block(block: dict[str, Any], wanted: Range | None) -> Steps[None]:
    block['windows'] = []
    for part in _block_parts(block, wanted):
        answer = yield ('query-guest-memfd',
                        {'id': block['id'], 'ranges': _ask(part)})
        block['windows'] += [_pack(info['window']) for info in answer
                             if info.get('window')]


def _ask_containers(containers: list[dict[str, Any]],
                    parts: list[Range | None]) -> Steps[None]:
    for part in parts:
        ranges = _ask(part) if part else {'max': 1, 'cells': QUERY_CELLS}
        answer = yield 'x-query-vfio-dma', {'ranges': ranges}
        by_path = {info['qom-path']: info for info in answer}
        for container in containers:
            window = by_path.get(container['qom-path'], {}).get('window')
            if window and window['size']:
                container['windows'].append(_pack(window))


def snapshot_steps(time: float, status: str,
                   wanted: Range | None = None) -> Steps[Snapshot]:
    """Yield the commands and arguments for a snapshot, and return it.

    The caller sends back QEMU's answer to each of them.
    """
    answer = yield 'query-guest-memfd', {}
    blocks = [dict(block) for block in answer]
    answer = yield 'x-query-vfio-dma', {}
    containers = [dict(container, windows=[]) for container in answer]
    snapshot = {'time': round(time, 3), 'status': status,
                'guest-memfd': blocks, 'vfio-dma': containers}
    for block in blocks:
        yield from _ask_block(block, wanted)
    if containers and blocks:
        parts = [part.cut(wanted.start, wanted.end) if wanted else part
                 for part in join_near(sections_of(snapshot))]
        yield from _ask_containers(containers, [part for part in parts
                                                if part])
    elif containers:
        # Without private memory, show the plugged memory
        yield from _ask_containers(containers, [wanted])
    return snapshot


def take_snapshot(execute: Execute, time: float, status: str = 'running',
                  wanted: Range | None = None) -> Snapshot:
    """Take a snapshot. @execute executes a QMP command with arguments."""
    steps = snapshot_steps(time, status, wanted)
    answer = None
    while True:
        try:
            command, arguments = steps.send(answer)
        except StopIteration as end:
            return end.value
        answer = execute(command, arguments)


# Recording a session

class Recorder:
    """Writes a session, a line for each snapshot."""

    def __init__(self, output: TextIO, guest: dict[str, Any]) -> None:
        self._output = output
        self._write({_FORMAT: _VERSION, **guest})

    def _write(self, line: dict[str, Any]) -> None:
        json.dump(line, self._output, separators=(',', ':'))
        self._output.write('\n')
        # Flush, so that the session survives a crash
        self._output.flush()

    def add(self, snapshot: Snapshot) -> None:
        self._write(snapshot)


@dataclass
class Session:
    """A recorded session."""

    guest: dict[str, Any]
    snapshots: list[Snapshot]


def _no_session(path: Path) -> str:
    return (f'{path}: not a session of {_FORMAT} {_VERSION}: dma-map-view '
            '--record writes one')


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_text(encoding='utf-8').splitlines()
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines) and number > 2:
                # The recording was interrupted: ignore the incomplete line
                return
            if number == 1:
                raise MapError(_no_session(path)) from error
            raise MapError(f'{path}, line {number}: {error}') from error
        if not isinstance(value, dict):
            raise MapError(f'{path}, line {number}: not a JSON object')
        yield value


def read_session(path: Path) -> Session:
    """Read a file that a Recorder has written."""
    try:
        first, *snapshots = _read_lines(path)
    except OSError as error:
        raise MapError(f'{path}: {error.strerror}') from error
    except UnicodeError as error:
        raise MapError(_no_session(path)) from error
    except ValueError as error:
        raise MapError(f'{path}: the file is empty') from error
    if first.get(_FORMAT) != _VERSION:
        raise MapError(_no_session(path))
    needed = {'time', 'status', 'guest-memfd', 'vfio-dma'}
    for number, snapshot in enumerate(snapshots, 2):
        missing = needed - snapshot.keys()
        if missing:
            raise MapError(f'{path}, line {number}: '
                           f'{", ".join(sorted(missing))} is missing')
    if not snapshots:
        raise MapError(f'{path}: the session has no snapshot')
    del first[_FORMAT]
    return Session(first, snapshots)


# Cells

class State(IntEnum):
    """The state of a cell: the most important one of the memory in it.

    A higher value is more important.
    """

    HOLE = 0
    PRIVATE = 1
    SHARED = 2
    LARGE = 3
    MIDDLE = 4
    SMALL = 5
    WAITING = 6
    MISSING = 7


def state_of_extent(size: int, mapped: bool, is_open: bool) -> State:
    if not mapped:
        return State.MISSING if is_open else State.WAITING
    if size < MIB:
        return State.SMALL
    return State.MIDDLE if size < GIB else State.LARGE


@dataclass
class Cell:
    """A cell of the strip."""

    state: State = State.HOLE
    # Fraction of the cell that is shared
    share: float = 0.0


@dataclass
class Part:
    """A part of the address space, divided into cells of equal size."""

    start: int
    size: int
    cells: list[Cell] = field(default_factory=list)


@dataclass
class Strip:
    """The guest's memory by guest physical address."""

    cell_size: int
    parts: list[Part]
    left_out: int = 0

    def states(self) -> set[State]:
        return {cell.state for part in self.parts for cell in part.cells}


def _runs(window: dict[str, Any]) -> Iterator[tuple[int, int, Any]]:
    """Yield start, end and value of each run; the last cell may be smaller."""
    start = window['start']
    end = start + window['size']
    size = window['cell-size']
    for count, value in window['runs']:
        last = min(start + count * size, end)
        if last < start + count * size and count > 1:
            whole = start + (count - 1) * size
            yield start, whole, value
            start = whole
        yield start, last, value
        start = last


def _shared_pieces(snapshot: Snapshot) -> Iterator[tuple[int, int, float]]:
    """Yield start, end and the shared fraction of each piece."""
    for block in snapshot['guest-memfd']:
        for section in block['sections']:
            offset, gpa = section['offset'], section['gpa']
            end = offset + section['size']
            for window in block.get('windows', []):
                for first, last, value in _runs(window):
                    a, b = max(first, offset), min(last, end)
                    if a < b:
                        size = min(window['cell-size'], last - first)
                        yield (a - offset + gpa, b - offset + gpa,
                               min(1.0, value / size))


def _extent_pieces(container: dict[str, Any]
                   ) -> Iterator[tuple[int, int, State]]:
    for window in container.get('windows', []):
        for first, last, (size, mapped) in _runs(window):
            if size:
                yield first, last, state_of_extent(size, mapped,
                                                   container['open'])


def _overlapping(part: Part, cell_size: int, start: int,
                 end: int) -> Iterator[tuple[Cell, int]]:
    """Yield the cells that a piece overlaps, and the fraction of each."""
    start = max(start, part.start)
    end = min(end, part.start + part.size)
    if start >= end:
        return
    first = (start - part.start) // cell_size
    last = (end - 1 - part.start) // cell_size
    for index in range(first, last + 1):
        low = part.start + index * cell_size
        yield part.cells[index], (min(end, low + cell_size) - max(start, low))


def parts_of(snapshot: Snapshot, wanted: Range | None = None) -> list[Range]:
    """Return the parts of the address space that have memory."""
    parts = join_near(sections_of(snapshot))
    if not parts:
        parts = join_near(sorted(
            (Range(window['start'], window['start'] + window['size'])
             for container in snapshot['vfio-dma']
             for window in container.get('windows', [])),
            key=lambda part: part.start))
    if wanted:
        parts = [cut for part in parts
                 if (cut := part.cut(wanted.start, wanted.end))]
    return parts


def _round_up_to_power(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


def fit_cells(parts: list[Range], columns: int, rows: int) -> int:
    """Return the smallest cell size for which @rows rows are enough."""
    total = sum(part.size for part in parts)
    cell = max(PAGE_SIZE, _round_up_to_power(-(-total // (columns * rows))))
    while len(parts) <= rows and sum(
            -(-part.size // (cell * columns)) for part in parts) > rows:
        cell *= 2
    return cell


def make_strip(snapshot: Snapshot, columns: int, rows: int,
               wanted: Range | None = None,
               container: str | None = None) -> Strip:
    """Divide memory into cells that fit @rows rows; a part has its own rows.

    A cell shows the most important state of all containers, or of @container.
    """
    ranges = parts_of(snapshot, wanted)
    left_out = max(0, len(ranges) - rows)
    if left_out:
        # Keep the largest parts
        ranges = sorted(sorted(ranges, key=lambda part: -part.size)[:rows],
                        key=lambda part: part.start)
    if not ranges:
        return Strip(PAGE_SIZE, [])
    cell_size = fit_cells(ranges, columns, rows)
    strip = Strip(cell_size, [Part(
        part.start, part.size,
        [Cell() for _ in range(-(-part.size // cell_size))])
        for part in ranges], left_out)
    _fill_strip(strip, snapshot, container)
    return strip


def _fill_strip(strip: Strip, snapshot: Snapshot,
                container: str | None) -> None:
    size = strip.cell_size
    for start, end, density in _shared_pieces(snapshot):
        for part in strip.parts:
            for cell, touched in _overlapping(part, size, start, end):
                cell.state = max(cell.state, State.SHARED if density
                                 else State.PRIVATE)
                cell.share += density * touched / size
    is_plain = not snapshot['guest-memfd']
    for info in snapshot['vfio-dma']:
        if container not in (None, info['qom-path']):
            continue
        for start, end, state in _extent_pieces(info):
            for part in strip.parts:
                for cell, _ in _overlapping(part, size, start, end):
                    if is_plain:
                        cell.share = 1.0
                    if cell.share:
                        cell.state = max(cell.state, state)
    for part in strip.parts:
        # The last cell may be smaller
        part.cells[-1].share *= size / (part.size -
                                        (len(part.cells) - 1) * size)
        for cell in part.cells:
            cell.share = min(1.0, round(cell.share, 6))


# Rates

_RATED = {'guest-memfd': ('id', ('conversions-to-shared',
                                 'conversions-to-private', 'failures')),
          'vfio-dma': ('qom-path', ('map-calls', 'unmap-calls', 'splits',
                                    'merges', 'failures'))}
Rates = dict[tuple[str, str, str], float]


def make_rates(before: Snapshot | None, now: Snapshot) -> Rates:
    """Return the rate per second of each (list, name, counter)."""
    rates: Rates = {}
    seconds = now['time'] - before['time'] if before else 0
    if not before or seconds <= 0:
        return rates
    for query, (key, counters) in _RATED.items():
        old = {info[key]: info for info in before[query]}
        for info in now[query]:
            for counter in counters:
                if info[key] in old:
                    # A new container's counters start from 0
                    change = info[counter] - old[info[key]][counter]
                    rates[query, info[key], counter] = \
                        max(0, change) / seconds
    return rates


# Formatting

def clean(text: str) -> str:
    """Replace unprintable characters, such as escapes, in QEMU's strings."""
    return ''.join(char if char.isprintable() else '?' for char in text)


def size_text(size: int) -> str:
    """Format a size: 4 KiB, 64.1 MiB."""
    for name, unit in (('TiB', 1 << 40), ('GiB', GIB), ('MiB', MIB),
                       ('KiB', KIB)):
        # 1024 after rounding is 1 of the next unit
        if size >= unit - unit // 2048:
            text = f'{size / unit:.1f}'
            return f'{text.removesuffix(".0")} {name}'
    return f'{size} B' if size else '0'


def short_size(size: int) -> str:
    """Format a size in short form: 4K, 2M."""
    text = size_text(size).removesuffix('iB').removesuffix(' B')
    return text.replace(' ', '')


def parse_window(text: str) -> Range:
    """Parse START+SIZE with suffixes: 0+256M or 0x100000000+1G."""
    def number(word: str) -> int:
        units = {'K': KIB, 'M': MIB, 'G': GIB, 'T': 1 << 40}
        unit = units.get(word[-1:].upper(), 1)
        return int(word[:-1] if unit > 1 else word, 0) * unit

    start, _, size = text.partition('+')
    try:
        first, length = number(start), number(size)
    except ValueError as error:
        raise MapError(f'"{text}" must be a range such as 0+256M') from error
    if length <= 0 or first < 0 or (first | length) % PAGE_SIZE or \
            first + length > 1 << 64:
        raise MapError(f'"{text}" must be a range of whole pages, such as '
                       '0+256M')
    return Range(first, first + length)
