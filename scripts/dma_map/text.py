# SPDX-License-Identifier: GPL-2.0-or-later

"""Format a snapshot as lines of text, for a terminal of any size."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dma_map.query import (Cell, Range, Rates, Snapshot, State, Strip, clean,
                           make_strip, short_size, size_text)

# A span is a text and its kind: a State or one of these
PLAIN = 'plain'
STRONG = 'strong'
FAINT = 'faint'
ALARM = 'alarm'
Span = tuple[str, Any]
Line = list[Span]

# Letters for terminals without colours; lower case if the cell is only partly
# shared
LETTERS = {State.HOLE: ' ', State.PRIVATE: '.', State.SHARED: 'S',
           State.LARGE: 'G', State.MIDDLE: 'M', State.SMALL: 'K',
           State.WAITING: 'W', State.MISSING: '!'}
NAMES = {State.PRIVATE: 'private', State.SHARED: 'shared, no device',
         State.LARGE: 'mapped, 1G and more',
         State.MIDDLE: 'mapped, 1M and more',
         State.SMALL: 'mapped, below 1M', State.WAITING: 'waits for the gate',
         State.MISSING: 'not mapped!'}
_SHADES = '░▒▓█'

_STRIP_ROWS = 8
_NARROW = 30


@dataclass
class Look:
    """The abilities of the terminal, and the part of memory to show."""

    width: int
    height: int | None = None
    colour: bool = False
    unicode: bool = False
    window: Range | None = None
    container: str | None = None


def cell_text(cell: Cell, look: Look) -> str:
    """Return the character for a cell."""
    letter = LETTERS[cell.state]
    if cell.state <= State.PRIVATE or cell.state == State.MISSING:
        return '·' if look.unicode and letter == '.' else letter
    if look.colour and look.unicode:
        return _SHADES[min(3, int(cell.share * 4))]
    return letter if cell.share > 0.999999 else letter.lower()


def _flow(items: Iterable[Span], width: int, indent: int = 0,
          gap: str = '  ') -> list[Line]:
    """Place items side by side, with line breaks where necessary."""
    lines: list[Line] = []
    room = 0
    indent = min(indent, width // 4)
    for text, kind in items:
        text = clean(text)[:width - indent]
        if not lines or len(gap) + len(text) > room:
            lines.append([(' ' * indent, PLAIN)] if indent else [])
            room = width - indent
        else:
            lines[-1].append((gap, PLAIN))
            room -= len(gap)
        lines[-1].append((text, kind))
        room -= len(text)
    return lines


def _sentence(text: str, kind: Any, width: int) -> list[Line]:
    return _flow([(word, kind) for word in text.split()], width, gap=' ')


def _rate(rates: Rates, key: tuple[str, str, str]) -> str:
    rate = rates.get(key)
    if not rate:
        return ''
    return f' ({rate:.0f}/s)' if rate >= 10 else f' ({rate:.1f}/s)'


def _counter(name: str, info: dict[str, Any], counter: str, rates: Rates,
             query: str, key: str, is_bad: bool = False) -> Span:
    value = info[counter]
    return (f'{name} {value}{_rate(rates, (query, info[key], counter))}',
            ALARM if is_bad and value else PLAIN)


def container_name(info: dict[str, Any]) -> str:
    return str(info['qom-path']).rsplit('/', maxsplit=1)[-1]


def gate_word(info: dict[str, Any]) -> str:
    return 'gate open' if info['open'] else 'gate closed'


def budget_text(info: dict[str, Any]) -> str:
    budget = info.get('budget')
    return f'{budget["left"]} of {budget["limit"]} entries left' if budget \
        else 'no entry limit'


def sizes_text(info: dict[str, Any]) -> list[str]:
    return [f'{short_size(count["size"])}: {count["extents"]}'
            for count in info['extents-by-size'] if count['extents']]


def block_lines(info: dict[str, Any], rates: Rates, width: int) -> list[Line]:
    """Format the counters of a RAM block."""
    def counter(name: str, key: str, is_bad: bool = False) -> Span:
        return _counter(name, info, key, rates, 'guest-memfd', 'id', is_bad)

    runs = info['shared-runs']
    items: list[Span] = [
        (f'{size_text(info["size"])}', PLAIN),
        (f'shared {size_text(info["shared-size"])} in {runs} '
         f'{"range" if runs == 1 else "ranges"}', PLAIN),
        counter('to shared', 'conversions-to-shared'),
        counter('to private', 'conversions-to-private'),
        counter('failures', 'failures', True)]
    if info.get('unfreed'):
        items.append((f'not freed {info["unfreed"]}', ALARM))
    failure = info.get('last-failure')
    if failure:
        items.append((f'last: {failure["offset"]:#x}+{failure["size"]:#x} to '
                      f'{"private" if failure["to-private"] else "shared"}: '
                      f'{failure["error"]}', ALARM))
    return [*_flow([(info['id'], STRONG)], width), *_flow(items, width, 2)]


def container_lines(info: dict[str, Any], rates: Rates,
                    width: int) -> list[Line]:
    """Format the counters of a VFIO container."""
    def counter(name: str, key: str, is_bad: bool = False) -> Span:
        return _counter(name, info, key, rates, 'vfio-dma', 'qom-path', is_bad)

    devices = []
    for device in info['devices']:
        word = 'may do DMA' if device['may-do-dma'] else \
            'DMA refused' if device['refused'] else 'no DMA'
        devices.append((f'{device.get("id") or device["name"]}: {word}',
                        ALARM if device['refused'] else PLAIN))
    sizes = sizes_text(info)
    items: list[Span] = [
        *devices,
        (f'mapped {size_text(info["mapped-size"])} of '
         f'{size_text(info["populated-size"])}', PLAIN),
        *([(f'missing {size_text(info["missing-size"])}', ALARM)]
          if info['missing-size'] else []),
        *([(f'stuck {size_text(info["stuck-size"])}', ALARM)]
          if info.get('stuck-size') else []),
        (f'{info["mapped-extents"]} of {info["extents"]} extents mapped',
         PLAIN),
        (budget_text(info), PLAIN),
        counter('map', 'map-calls'), counter('unmap', 'unmap-calls'),
        counter('splits', 'splits'), counter('merges', 'merges'),
        counter('failures', 'failures', True),
        *(((('extents of ' if not i else '') + text, FAINT))
          for i, text in enumerate(sizes))]
    head: list[Span] = [
        (f'{container_name(info)} ({info["backend"]})', STRONG),
        (gate_word(info), State.LARGE if info['open'] else State.WAITING),
        (f'policy {info["extent-size"]}', PLAIN)]
    return [*_flow(head, width), *_flow(items, width, 2)]


def total_text(snapshot: Snapshot) -> str:
    """Format the shared size, total size and percentage."""
    blocks = snapshot['guest-memfd']
    size = sum(info['size'] for info in blocks)
    shared = sum(info['shared-size'] for info in blocks)
    if not blocks:
        return 'no private memory'
    return (f'{size_text(shared)} of {size_text(size)} shared '
            f'({100 * shared / size:.1f} %)')


def title_lines(snapshot: Snapshot, guest: dict[str, Any], strip: Strip | None,
                look: Look, note: str) -> list[Line]:
    clock = time.strftime('%H:%M:%S', time.gmtime(snapshot['time']))
    items: list[Span] = [(guest.get('name') or 'guest', STRONG),
                         (snapshot['status'], PLAIN),
                         (total_text(snapshot), PLAIN),
                         (f'{clock} UTC', FAINT)]
    if strip and strip.parts:
        items.append((f'each cell is {size_text(strip.cell_size)}', FAINT))
    if look.container:
        items.append((f'only {look.container.rsplit("/", maxsplit=1)[-1]}',
                      PLAIN))
    lines = _flow(items, look.width)
    if note:
        lines += _sentence(note, ALARM, look.width)
    return lines


def _columns(snapshot: Snapshot, look: Look) -> tuple[int, int]:
    """Return the width of addresses, and the number of cells in a row."""
    end = max((section['gpa'] + section['size']
               for block in snapshot['guest-memfd']
               for section in block['sections']), default=1 << 40)
    label = len(f'{end:#x}') + 1 if look.width >= _NARROW else 0
    room = look.width - label
    step = 16 if room >= 32 else 4
    return label, max(1, room // step * step)


def strip_lines(strip: Strip, label: int, columns: int,
                look: Look) -> list[Line]:
    lines: list[Line] = []
    for part in strip.parts:
        for index in range(0, len(part.cells), columns):
            address = part.start + index * strip.cell_size
            line: Line = []
            if label:
                line.append((f'{address:#x} '.rjust(label), FAINT))
            for cell in part.cells[index:index + columns]:
                text = cell_text(cell, look)
                if line and line[-1][1] == cell.state:
                    line[-1] = (line[-1][0] + text, cell.state)
                else:
                    line.append((text, cell.state))
            lines.append(line)
    if strip.left_out:
        lines += _flow([(f'{strip.left_out} smaller parts are not shown',
                         FAINT)], look.width)
    return lines


def legend_lines(strip: Strip, look: Look) -> list[Line]:
    """Explain the characters that are used."""
    items: list[Span] = []
    for state in sorted(strip.states() - {State.HOLE}):
        sign = cell_text(Cell(state, 1.0), look)
        items.append((f'{sign} {NAMES[state]}', state))
    if any(0 < cell.share <= 0.999999 for part in strip.parts
           for cell in part.cells):
        items.append(('lighter: partly' if look.colour and look.unicode
                      else 'lower case: partly', FAINT))
    return _flow(items, look.width)


def render(snapshot: Snapshot, guest: dict[str, Any], rates: Rates, look: Look,
           note: str = '', keys: str = '') -> list[Line]:
    """Format the whole view, cut to the height of the terminal."""
    below: list[Line] = []
    if not snapshot['guest-memfd']:
        below += _sentence('No RAM block has a guest_memfd: this guest has no '
                           'private memory.', PLAIN, look.width)
    for info in snapshot['guest-memfd']:
        below += block_lines(info, rates, look.width)
    if not snapshot['vfio-dma']:
        below += _sentence('No device is assigned: there is no VFIO '
                           'container.', PLAIN, look.width)
    for info in snapshot['vfio-dma']:
        below += container_lines(info, rates, look.width)

    label, columns = _columns(snapshot, look)
    rows = _STRIP_ROWS
    if look.height is not None:
        # At least about half of the terminal
        rows = max(1, min(rows, max(look.height - len(below) - 6,
                                    look.height // 2 - 4)))
    strip = make_strip(snapshot, columns, rows, look.window, look.container)
    lines = title_lines(snapshot, guest, strip, look, note)
    if strip.parts:
        lines += strip_lines(strip, label, columns, look)
        lines += legend_lines(strip, look)
    elif look.window:
        lines += _sentence('There is no memory in this range.', PLAIN,
                           look.width)
    lines += below
    return _fit(lines, look, keys)


def _fit(lines: list[Line], look: Look, keys: str) -> list[Line]:
    """Cut lines to the terminal, with a note about how many are left out."""
    last = [(keys[:look.width], FAINT)] if keys else None
    if look.height is None:
        return lines + ([last] if last else [])
    room = max(0, look.height - (1 if last else 0))
    if len(lines) > room:
        more = f'{len(lines) - room + 1} more lines'
        lines = lines[:max(0, room - 1)] + ([[(more[:look.width], FAINT)]]
                                            if room else [])
    return (lines + ([last] if last else []))[:look.height]


def plain_text(lines: list[Line]) -> str:
    """Convert lines to text without colours."""
    return '\n'.join(''.join(text for text, _ in line).rstrip()
                     for line in lines)
