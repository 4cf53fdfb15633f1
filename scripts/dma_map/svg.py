# SPDX-License-Identifier: GPL-2.0-or-later

"""Draw a snapshot as a self-contained SVG picture.

The same snapshot gives the same picture, byte by byte. The picture has its own
background, and colours for light and dark mode.
"""

from typing import Any
from xml.sax.saxutils import escape

from dma_map.query import (Cell, Part, Range, Snapshot, State, Strip, clean,
                           make_strip, short_size, size_text)
from dma_map.text import (NAMES, budget_text, container_name, gate_word,
                          total_text)

WIDTH = 800
_MARGIN = 24
_LABEL = 104
_COLUMNS = 64
_CELL = 10
_CELL_HEIGHT = 16
_ROWS = 8
_ROW_GAP = 3
_LINE = 19

# Colours of each state in light and dark mode: warmer for smaller mappings
_COLOURS = {
    State.PRIVATE: ('#e3e7ec', '#30363d'),
    State.SHARED: ('#8c959f', '#8b949e'),
    State.LARGE: ('#0f6d8c', '#39a9cc'),
    State.MIDDLE: ('#2da44e', '#3fb950'),
    State.SMALL: ('#e8830c', '#f0a020'),
    State.WAITING: ('#8250df', '#a371f7'),
    State.MISSING: ('#cf222e', '#ff5c54')}
_GROUND = ('#ffffff', '#0d1117')
_BORDER = ('#d0d7de', '#30363d')
_TEXT = ('#1f2328', '#e6edf3')
_FAINT = ('#59636e', '#9198a1')

_FONT = ('system-ui, -apple-system, "Segoe UI", "Liberation Sans", '
         '"DejaVu Sans", Arial, sans-serif')
_MONO = ('ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", '
         '"Liberation Mono", monospace')


def _style() -> str:
    def rules(which: int) -> list[str]:
        return [f'.{state.name.lower()} {{ fill: {colours[which]} }}'
                for state, colours in _COLOURS.items()] + [
            f'.ground {{ fill: {_GROUND[which]} }}',
            f'.border {{ fill: {_BORDER[which]} }}',
            f'.grid {{ stroke: {_GROUND[which]} }}',
            f'.text {{ fill: {_TEXT[which]} }}',
            f'.faint {{ fill: {_FAINT[which]} }}']

    dark = '\n'.join('  ' + rule for rule in rules(1))
    return '\n'.join([
        f'text {{ font-family: {_FONT}; font-size: 14px }}',
        f'.mono {{ font-family: {_MONO}; font-size: 12px }}',
        '.title { font-size: 19px; font-weight: 600 }',
        '.head { font-weight: 600 }', *rules(0),
        '@media (prefers-color-scheme: dark) {', dark, '}'])


class _Canvas:
    """Places elements from top to bottom."""

    def __init__(self) -> None:
        self.y = _MARGIN
        self.elements: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float,
             kind: str) -> None:
        self.elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" '
            f'height="{height:g}" class="{kind}"/>')

    def text(self, x: float, y: float, text: str, kind: str = 'text',
             anchor: str = '') -> None:
        more = f' text-anchor="{anchor}"' if anchor else ''
        self.elements.append(f'<text x="{x:g}" y="{y:g}" class="{kind}"{more}>'
                             f'{escape(clean(text))}</text>')

    def line(self, text: str, kind: str = 'text', x: float = _MARGIN) -> None:
        self.text(x, self.y + 14, text, kind)
        self.y += _LINE


def _fill_of(cell: Cell) -> int:
    """Return the filled height of a cell; only private cells have none."""
    if cell.state <= State.PRIVATE:
        return 0
    if cell.share > 0.999999:
        return _CELL_HEIGHT
    # Few steps keep the file small; a partly shared cell is never full
    return _CELL_HEIGHT // 4 * min(3, max(1, round(cell.share * 4)))


def _draw_row(canvas: _Canvas, cells: list[Cell]) -> None:
    left = _MARGIN + _LABEL
    y = canvas.y
    canvas.rect(left, y, len(cells) * _CELL, _CELL_HEIGHT, 'private')
    start = 0
    for index in range(1, len(cells) + 1):
        first = cells[start]
        if index < len(cells) and cells[index].state == first.state and \
                _fill_of(cells[index]) == _fill_of(first):
            continue
        height = _CELL_HEIGHT if first.state == State.HOLE else _fill_of(first)
        if height:
            kind = 'ground' if first.state == State.HOLE \
                else first.state.name.lower()
            canvas.rect(left + start * _CELL, y + _CELL_HEIGHT - height,
                        (index - start) * _CELL, height, kind)
        start = index
    grid = ''.join(f'M{left + index * _CELL} {y}v{_CELL_HEIGHT}'
                   for index in range(1, len(cells)))
    if grid:
        canvas.elements.append(f'<path d="{grid}" class="grid"/>')
    canvas.y += _CELL_HEIGHT + _ROW_GAP


def _draw_part(canvas: _Canvas, part: Part, cell_size: int) -> None:
    for index in range(0, len(part.cells), _COLUMNS):
        canvas.text(_MARGIN + _LABEL - 8, canvas.y + 12.5,
                    f'{part.start + index * cell_size:#x}', 'mono faint',
                    'end')
        _draw_row(canvas, part.cells[index:index + _COLUMNS])


def _draw_strip(canvas: _Canvas, strip: Strip) -> None:
    for number, part in enumerate(strip.parts):
        if number:
            canvas.y += 4
        _draw_part(canvas, part, strip.cell_size)
    if strip.left_out:
        canvas.line(f'{strip.left_out} smaller parts are not shown', 'faint',
                    _MARGIN + _LABEL)
    canvas.y += 6


def _draw_legend(canvas: _Canvas, strips: list[Strip]) -> None:
    """Draw a legend of the states in the picture."""
    x = _MARGIN
    states = set().union(*(strip.states() for strip in strips))
    words = [(state.name.lower(), NAMES[state])
             for state in sorted(states - {State.HOLE})]
    for kind, name in words:
        # Wide enough for all fonts
        width = 36 + 8 * len(name)
        if x + width > WIDTH - _MARGIN:
            x = _MARGIN
            canvas.y += _LINE + 4
        canvas.rect(x, canvas.y, 14, 14, kind)
        canvas.text(x + 20, canvas.y + 12, name)
        x += width
    canvas.y += _LINE
    canvas.line('The filled part of a cell is shared.', 'faint')
    canvas.y += 10


def _draw_table(canvas: _Canvas, rows: list[tuple[str, str]]) -> None:
    """Draw names and values in two columns."""
    half = (WIDTH - 2 * _MARGIN) // 2
    for index in range(0, len(rows), 2):
        for column, (name, value) in enumerate(rows[index:index + 2]):
            x = _MARGIN + column * half
            canvas.text(x, canvas.y + 14, name, 'faint')
            canvas.text(x + 150, canvas.y + 14, value)
        canvas.y += _LINE
    canvas.y += 12


def _draw_blocks(canvas: _Canvas, blocks: list[dict[str, Any]]) -> None:
    """Draw a table row for each RAM block."""
    places = (0, 170, 290, 410, 480, 590, 680)
    lines = [('RAM block', 'size', 'shared', 'ranges', 'to shared',
              'to private', 'failures')]
    lines += [(_cut(info['id'], 20), size_text(info['size']),
               size_text(info['shared-size']), str(info['shared-runs']),
               str(info['conversions-to-shared']),
               str(info['conversions-to-private']), str(info['failures']))
              for info in blocks]
    for number, line in enumerate(lines):
        for x, word in zip(places, line):
            kind = 'text' if number else 'faint' if x else 'text head'
            canvas.text(_MARGIN + x, canvas.y + 14, word, kind)
        canvas.y += _LINE
    canvas.y += 12


def _container_rows(info: dict[str, Any]) -> list[tuple[str, str]]:
    return [('mapped', f'{size_text(info["mapped-size"])} of '
                       f'{size_text(info["populated-size"])}'),
            ('IOMMU entries', f'{info["mapped-extents"]}, '
             f'{budget_text(info).replace(" entries", "")}'),
            ('calls', f'{info["map-calls"]} map, {info["unmap-calls"]} unmap'),
            ('extents', f'{info["splits"]} splits, {info["merges"]} merges'),
            ('missing', size_text(info['missing-size'])),
            ('failures', str(info['failures']))]


def _draw_sizes(canvas: _Canvas, info: dict[str, Any]) -> None:
    """Draw the number of extents of each size as bars."""
    counts = [count for count in info['extents-by-size'] if count['extents']]
    if not counts:
        return
    most = max(count['extents'] for count in counts)
    step = min(52, (WIDTH - 2 * _MARGIN - 150) // len(counts))
    height = 44
    canvas.text(_MARGIN, canvas.y + height + 12, 'extents by size', 'faint')
    for index, count in enumerate(counts):
        x = _MARGIN + 150 + index * step
        bar = max(2, round(count['extents'] / most * (height - 16)))
        size = count['size']
        kind = State.SMALL if size < 1 << 20 else \
            State.MIDDLE if size < 1 << 30 else State.LARGE
        canvas.rect(x, canvas.y + height - bar, step - 6, bar,
                    kind.name.lower() if info['open'] or
                    info['mapped-extents'] else State.WAITING.name.lower())
        middle = x + (step - 6) / 2
        canvas.text(middle, canvas.y + height - bar - 4,
                    str(count['extents']), 'mono text', 'middle')
        canvas.text(middle, canvas.y + height + 12, short_size(size),
                    'mono faint', 'middle')
    canvas.y += height + 30


def _device_words(info: dict[str, Any]) -> str:
    names = [device.get('id') or device['name'] for device in info['devices']]
    more = len(names) - 3
    return ', '.join(names[:3]) + (f' and {more} more' if more > 0 else '')


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit - 1] + '…'


def picture(snapshot: Snapshot, guest: dict[str, Any],
            wanted: Range | None = None) -> str:
    """Return the picture: a strip for each container, and the counters."""
    canvas = _Canvas()
    name = guest.get('name')
    title = 'Guest memory and DMA' + (f': {name}' if name else '')
    canvas.text(_MARGIN, canvas.y + 18, _cut(title, 70), 'text title')
    canvas.y += 32

    containers = snapshot['vfio-dma']
    strips = [make_strip(snapshot, _COLUMNS, _ROWS, wanted, path)
              for path in [info['qom-path'] for info in containers] or [None]]
    words = [total_text(snapshot)]
    if strips[0].parts:
        words.append('by guest physical address, each cell is '
                     f'{size_text(strips[0].cell_size)}')
    if wanted:
        words.append(f'{size_text(wanted.size)} from {wanted.start:#x} on')
    canvas.line('; '.join(words), 'faint')
    canvas.y += 10

    for index, strip in enumerate(strips):
        if containers:
            info = containers[index]
            canvas.line(_cut(f'{container_name(info)}, {info["backend"]}: '
                             f'{_device_words(info)}, {gate_word(info)}, '
                             f'policy {info["extent-size"]}', 95), 'text head')
            canvas.y += 4
        _draw_strip(canvas, strip)
    if strips[0].parts:
        _draw_legend(canvas, strips)
    if snapshot['guest-memfd']:
        _draw_blocks(canvas, snapshot['guest-memfd'])
    else:
        canvas.line('No RAM block has a guest_memfd: this guest has no '
                    'private memory.')
    for info in containers:
        canvas.line(_cut(f'VFIO container {container_name(info)}', 95),
                    'text head')
        _draw_table(canvas, _container_rows(info))
        _draw_sizes(canvas, info)
    if not containers:
        canvas.line('No device is assigned: there is no VFIO container.')
    height = canvas.y + _MARGIN - 12
    return _document(title, height, canvas.elements)


def _document(title: str, height: int, elements: list[str]) -> str:
    return '\n'.join([
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
        f'height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
        f'<title>{escape(clean(title))}</title>',
        f'<style>\n{_style()}\n</style>',
        f'<rect width="{WIDTH}" height="{height}" rx="8" class="border"/>',
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="7" '
        'class="ground"/>', *elements, '</svg>', ''])
