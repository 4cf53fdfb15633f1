# SPDX-License-Identifier: GPL-2.0-or-later

"""A model of QEMU that answers the queries about shared memory."""

from typing import Any

from dma_map.query import GIB, KIB, MIB, Range, Snapshot, take_snapshot

PATH = '/machine/vfio-container[0]'


class FakeQemu:
    """Answers the queries for a model of memory, according to the schema."""

    def __init__(self, memory: int = 2 * GIB,
                 shared: list[tuple[int, int]] | None = None,
                 extents: list[tuple[int, int, bool]] | None = None,
                 sections: list[tuple[int, int, int]] | None = None,
                 is_open: bool = True) -> None:
        self.memory = memory
        self.shared = shared or []
        self.extents = extents
        low = min(memory, 2 * GIB)
        self.sections = sections or [(0, 0, low)] + (
            [(4 * GIB, low, memory - low)] if memory > low else [])
        self.is_open = is_open
        self.conversions = len(self.shared)
        self.has_memfd = True
        self.largest_answer = 0

    def _window(self, ranges: dict[str, Any], limit: int) -> tuple[int, int,
                                                                   int]:
        start = ranges.get('start', 0)
        size = min(ranges.get('size', limit), limit - start)
        assert start % 4096 == 0 and size % 4096 == 0
        assert 1 <= ranges['cells'] <= 4096
        cell = -(-size // ranges['cells'] // 4096) * 4096 or 4096
        while size and -(-size // cell) > ranges['cells']:
            cell += 4096
        return start, size, cell

    def _shared_in(self, start: int, end: int) -> int:
        return sum(max(0, min(end, a + n) - max(start, a))
                   for a, n in self.shared)

    def _memfd(self, ranges: dict[str, Any] | None) -> dict[str, Any]:
        size = sum(n for _, n in self.shared)
        info: dict[str, Any] = {
            'id': 'pc.ram', 'qom-path': '/objects/pc.ram', 'size': self.memory,
            'page-size': 4096, 'shared-size': size,
            'private-size': self.memory - size,
            'shared-runs': len(self.shared),
            'conversions-to-shared': self.conversions,
            'conversions-to-private': 0, 'failures': 0, 'unfreed': 0,
            'listeners': 1, 'sections': [
                {'gpa': gpa, 'offset': offset, 'size': size}
                for gpa, offset, size in self.sections]}
        if ranges:
            start, size, cell = self._window(ranges, self.memory)
            info['window'] = {
                'start': start, 'size': size, 'ranges': [], 'more': True,
                'cell-size': cell, 'cells': [
                    self._shared_in(at, min(at + cell, start + size))
                    for at in range(start, start + size, cell)]}
        return info

    def _dma(self, ranges: dict[str, Any] | None) -> dict[str, Any]:
        assert self.extents is not None
        mapped = [n for _, n, is_mapped in self.extents if is_mapped]
        total = sum(n for _, n, _ in self.extents)
        info: dict[str, Any] = {
            'qom-path': PATH, 'backend': 'type1', 'devices': [
                {'name': '0000:00:02.0', 'id': 'nic0',
                 'qom-path': '/machine/peripheral/nic0',
                 'may-do-dma': self.is_open, 'refused': False}],
            'extent-size': 'auto', 'open': self.is_open,
            'budget': {'limit': 65500, 'left': 65500 - len(mapped),
                       'reserve': 64},
            'extents': len(self.extents), 'mapped-extents': len(mapped),
            'largest-extent': max((n for _, n, _ in self.extents), default=0),
            'smallest-extent': min((n for _, n, _ in self.extents),
                                   default=0),
            'extents-by-size': [
                {'size': size, 'extents': count} for size, count in sorted(
                    {1 << n.bit_length() - 1: sum(
                        m.bit_length() == n.bit_length()
                        for _, m, _ in self.extents)
                     for _, n, _ in self.extents}.items())],
            'block-size': 2 * MIB, 'populated-size': total,
            'mapped-size': sum(mapped),
            'missing-size': total - sum(mapped) if self.is_open else 0,
            'map-calls': len(mapped), 'unmap-calls': 0, 'splits': 0,
            'merges': 0, 'failures': 0}
        if ranges:
            start, size, cell = self._window(
                ranges, ranges.get('start', 0) + ranges.get('size', max(
                    (a + n for a, n, _ in self.extents), default=0)))
            cells = []
            for at in range(start, start + size, cell):
                here = [{'size': n, 'mapped': is_mapped}
                        for a, n, is_mapped in self.extents
                        if a < min(at + cell, start + size) and at < a + n]
                cells.append(here[0] if here else
                             {'size': 0, 'mapped': False})
            info['window'] = {'start': start, 'size': size, 'extents': [],
                              'more': True, 'cell-size': cell,
                              'cells': cells}
        return info

    def execute(self, command: str, arguments: dict[str, Any]) -> Any:
        ranges = arguments.get('ranges')
        if command == 'query-guest-memfd':
            answer = [self._memfd(ranges)] if self.has_memfd else []
        elif command == 'x-query-vfio-dma':
            answer = [self._dma(ranges)] if self.extents is not None else []
        elif command == 'query-status':
            return {'status': 'running', 'running': True}
        elif command == 'query-name':
            return {'name': 'test guest'}
        else:
            raise AssertionError(command)
        for info in answer:
            self.largest_answer = max(
                self.largest_answer,
                len(info.get('window', {}).get('cells', [])))
        return answer

    def snapshot(self, at: float = 100.0,
                 wanted: Range | None = None) -> Snapshot:
        return take_snapshot(self.execute, at, 'running', wanted)


def usual(memory: int = 2 * GIB) -> FakeQemu:
    """Return a guest with 64 MiB shared at 64 MiB, except for one page."""
    hole = 84 * MIB
    pieces = [(64 * MIB + i * 2 * MIB, 2 * MIB, True) for i in range(32)
              if i != 10]
    pieces += [(hole + (4 * KIB << i), 4 * KIB << i, True) for i in range(9)]
    return FakeQemu(memory, [(64 * MIB, 20 * MIB),
                             (hole + 4 * KIB, 44 * MIB - 4 * KIB)],
                    sorted(pieces))
