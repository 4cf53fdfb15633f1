# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the map of shared memory: cells, text, picture, sessions, QEMU."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from dma_map import (GIB, KIB, MIB, QUERY_CELLS, MapError, Range, Recorder,
                     Session, Snapshot, State, join_near, make_rates,
                     make_strip, parse_window, read_session, size_text,
                     take_snapshot)
from dma_map_svg import picture
from dma_map_text import Look, container_name, plain_text, render

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / 'scripts/dma-map-view'
LIBRARY = ROOT / 'build/qemu-src/python'
PATH = '/machine/vfio-container[0]'


class FakeQemu:
    """Answers the queries for a model of memory, as the schema says."""

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
    """64 MiB are shared at 64 MiB; one page of them is private."""
    hole = 84 * MIB
    pieces = [(64 * MIB + i * 2 * MIB, 2 * MIB, True) for i in range(32)
              if i != 10]
    pieces += [(hole + (4 * KIB << i), 4 * KIB << i, True) for i in range(9)]
    return FakeQemu(memory, [(64 * MIB, 20 * MIB),
                             (hole + 4 * KIB, 44 * MIB - 4 * KIB)],
                    sorted(pieces))


class Cells(unittest.TestCase):
    def strip(self, qemu: FakeQemu, columns: int = 64, rows: int = 8,
              wanted: Range | None = None) -> Any:
        return make_strip(qemu.snapshot(wanted=wanted), columns, rows, wanted)

    def test_states(self) -> None:
        strip = self.strip(usual())
        self.assertEqual(strip.cell_size, 4 * MIB)
        self.assertEqual(len(strip.parts), 1)
        cells = strip.parts[0].cells
        self.assertEqual(len(cells), 512)
        self.assertEqual([cell.state for cell in cells[15:33]], [
            State.PRIVATE, *[State.MIDDLE] * 5, State.SMALL,
            *[State.MIDDLE] * 10, State.PRIVATE])
        self.assertEqual(cells[16].share, 1)
        self.assertAlmostEqual(cells[21].share, 1023 / 1024, 5)

    def test_gate_and_missing(self) -> None:
        for is_open, state in ((False, State.WAITING), (True, State.MISSING)):
            qemu = FakeQemu(shared=[(0, 8 * MIB)],
                            extents=[(0, 8 * MIB, False)], is_open=is_open)
            self.assertEqual(self.strip(qemu).parts[0].cells[0].state, state)

    def test_extent_sizes(self) -> None:
        for size, state in ((4 * KIB, State.SMALL), (512 * KIB, State.SMALL),
                            (MIB, State.MIDDLE), (GIB, State.LARGE)):
            qemu = FakeQemu(shared=[(0, size)], extents=[(0, size, True)])
            self.assertEqual(self.strip(qemu).parts[0].cells[0].state, state)

    def test_without_a_device(self) -> None:
        cells = self.strip(FakeQemu(shared=[(0, 4 * MIB)])).parts[0].cells
        self.assertEqual([cell.state for cell in cells[:2]],
                         [State.SHARED, State.PRIVATE])

    def test_memory_above_the_hole(self) -> None:
        qemu = FakeQemu(3 * GIB, [(2 * GIB, 4 * KIB)])
        strip = self.strip(qemu)
        self.assertEqual([part.start for part in strip.parts],
                         [0, 4 * GIB])
        self.assertEqual(strip.parts[1].cells[0].state, State.SHARED)
        self.assertEqual(strip.parts[0].cells[0].state, State.PRIVATE)

    def test_each_page_can_be_seen(self) -> None:
        for gpa in (0, 123 * MIB + 4 * KIB, 2 * GIB - 4 * KIB):
            qemu = FakeQemu(shared=[(gpa, 4 * KIB)])
            cells = self.strip(qemu).parts[0].cells
            shown = [index for index, cell in enumerate(cells) if cell.share]
            self.assertEqual(shown, [gpa // (4 * MIB)])

    def test_odd_sizes(self) -> None:
        memory = 100 * MIB + 4 * KIB
        for columns, rows in ((1, 1), (7, 3), (64, 8), (176, 8)):
            qemu = FakeQemu(memory, [(0, memory)])
            strip = self.strip(qemu, columns, rows)
            for cell in strip.parts[0].cells:
                self.assertAlmostEqual(cell.share, 1, 4)

    def test_small_last_cell(self) -> None:
        # A run of cells with as much in each: all of the last, smaller one
        snapshot = FakeQemu(20 * KIB, [(0, 4 * KIB)]).snapshot()
        snapshot['guest-memfd'][0]['windows'] = [
            {'start': 0, 'size': 20 * KIB, 'cell-size': 8 * KIB,
             'runs': [[3, 4 * KIB]]}]
        cells = make_strip(snapshot, 8, 1).parts[0].cells
        self.assertEqual([cell.share for cell in cells],
                         [0.5, 0.5, 0.5, 0.5, 1])

    def test_window(self) -> None:
        wanted = Range(80 * MIB, 96 * MIB)
        strip = self.strip(usual(), wanted=wanted)
        self.assertEqual(strip.parts[0].start, 80 * MIB)
        self.assertEqual(strip.cell_size, 32 * KIB)
        private = [cell for cell in strip.parts[0].cells if cell.share < 1]
        self.assertEqual([cell.share for cell in private], [7 / 8])
        self.assertEqual(strip.parts[0].cells.index(private[0]), 128)

    def test_a_tebibyte(self) -> None:
        qemu = usual(1 << 40)
        strip = self.strip(qemu)
        self.assertLessEqual(len(strip.parts[0].cells), 8 * 64)
        self.assertEqual(strip.parts[0].cells[0].state, State.MIDDLE)
        self.assertEqual(qemu.largest_answer, QUERY_CELLS)

    def test_virtio_mem(self) -> None:
        qemu = FakeQemu(extents=[(4 * GIB, 2 * MIB, True)])
        qemu.has_memfd = False
        strip = self.strip(qemu)
        self.assertEqual({cell.state for part in strip.parts
                          for cell in part.cells},
                         {State.MIDDLE, State.HOLE})

    def test_few_rows(self) -> None:
        parts = [Range(i << 40, (i << 40) + (i + 1) * MIB) for i in range(20)]
        self.assertEqual(len(join_near(parts)), 8)


class Text(unittest.TestCase):
    def looks(self) -> list[Look]:
        return [Look(width, height, colour, unicode)
                for width in range(20, 201)
                for height in (5, 12, 24)
                for colour, unicode in ((False, False), (True, True))]

    def qemus(self) -> list[FakeQemu]:
        empty = FakeQemu()
        empty.has_memfd = False
        return [usual(), usual(1 << 40), FakeQemu(), empty]

    def test_it_fits(self) -> None:
        for qemu in self.qemus():
            snapshot = qemu.snapshot()
            for look in self.looks():
                lines = render(snapshot, {'name': 'x' * 50}, {}, look, 'note',
                               'q quit')
                self.assertLessEqual(len(lines), look.height or 0)
                self.assertEqual(plain_text(lines[-1:]), 'q quit')
                for line in lines:
                    self.assertLessEqual(sum(len(text) for text, _ in line),
                                         look.width)

    def test_letters_alone_tell_it(self) -> None:
        text = plain_text(render(usual().snapshot(), {}, {}, Look(80)))
        self.assertTrue(text.isascii())
        self.assertIn('0x0 ................MMMMMkMMMMMMMMMM......', text)
        for word in ('. private', 'M mapped, 1M and more', 'gate open',
                     '64 MiB of 2 GiB shared (3.1 %)', 'pc.ram',
                     'map 40', '65460 of 65500 entries left', '2M: 31'):
            self.assertIn(word, text)

    def test_shades(self) -> None:
        qemu = FakeQemu(shared=[(0, MIB), (4 * MIB, 4 * MIB)])
        text = plain_text(render(qemu.snapshot(), {}, {},
                                 Look(80, None, True, True)))
        self.assertIn('0x0 ▒█·', text)

    def test_nothing_there(self) -> None:
        text = plain_text(render(self.qemus()[3].snapshot(), {}, {},
                                 Look(80)))
        self.assertIn('No RAM block has a guest_memfd', text)
        self.assertIn('there is no VFIO container', text)

    def test_sentences_are_not_cut(self) -> None:
        note = '0x1000+0x2000 was not converted to shared: No space left'
        text = plain_text(render(self.qemus()[3].snapshot(), {}, {}, Look(30),
                                 note))
        for sentence in (note, 'this guest has no private memory.',
                         'there is no VFIO container.'):
            self.assertIn(sentence, text.replace('\n', ' '))

    def test_one_range(self) -> None:
        qemu = FakeQemu(shared=[(0, MIB)])
        text = plain_text(render(qemu.snapshot(), {}, {}, Look(80)))
        self.assertIn('shared 1 MiB in 1 range ', text)
        qemu.shared.append((4 * MIB, MIB))
        text = plain_text(render(qemu.snapshot(), {}, {}, Look(80)))
        self.assertIn('shared 2 MiB in 2 ranges ', text)

    def test_failures(self) -> None:
        snapshot = usual().snapshot()
        snapshot['guest-memfd'][0]['last-failure'] = {
            'offset': 4096, 'size': 8192, 'to-private': False,
            'error': 'No space\x1b[2J left'}
        text = plain_text(render(snapshot, {}, {}, Look(80)))
        self.assertIn('0x1000+0x2000 to shared: No space?[2J left', text)

    def test_rates(self) -> None:
        qemu = usual()
        before = qemu.snapshot(100)
        qemu.conversions += 25
        rates = make_rates(before, qemu.snapshot(102))
        self.assertEqual(
            rates['guest-memfd', 'pc.ram', 'conversions-to-shared'], 12.5)
        text = plain_text(render(qemu.snapshot(102), {}, rates, Look(80)))
        self.assertIn('to shared 27 (12/s)', text)
        qemu.conversions = 0
        rates = make_rates(before, qemu.snapshot(102))
        self.assertEqual(min(rates.values()), 0)

    def test_sizes(self) -> None:
        for size, text in ((0, '0'), (4096, '4 KiB'), (MIB - 1, '1 MiB'),
                           (64 * MIB + 65536, '64.1 MiB'), (1 << 40, '1 TiB'),
                           (5 << 39, '2.5 TiB')):
            self.assertEqual(size_text(size), text)

    def test_windows(self) -> None:
        self.assertEqual(parse_window('0x1000+4K'), Range(4096, 8192))
        self.assertEqual(parse_window('4G+1g'), Range(4 * GIB, 5 * GIB))
        for text in ('', '1', '0+0', '1+4K', '0+x', '-4K+8K',
                     '0xfffffffffffff000+8K'):
            with self.assertRaises(MapError, msg=text):
                parse_window(text)


class Pictures(unittest.TestCase):
    def test_well_formed_and_stable(self) -> None:
        several = usual().snapshot()
        several['vfio-dma'].append({**several['vfio-dma'][0],
                                    'qom-path': '/machine/b[1]'})
        for snapshot in (usual().snapshot(), usual(1 << 40).snapshot(),
                         FakeQemu().snapshot(), several,
                         Text().qemus()[3].snapshot()):
            guest = {'name': 'a <b> & "c" \x01'}
            text = picture(snapshot, guest)
            root = ElementTree.fromstring(text)
            self.assertEqual(root.get('width'), '800')
            self.assertEqual(text, picture(json.loads(json.dumps(snapshot)),
                                           guest))
            self.assertLess(len(text), 100 * KIB)
            self.assertIn('prefers-color-scheme: dark', text)
            self.assertNotIn('http', text.replace(
                'http://www.w3.org/2000/svg', ''))
            for info in snapshot['vfio-dma']:
                self.assertIn(container_name(info), text)

    def test_nothing_leaves_the_picture(self) -> None:
        root = ElementTree.fromstring(picture(usual(1 << 40).snapshot(), {}))
        height = float(root.get('height') or 0)
        for element in root.iter('{http://www.w3.org/2000/svg}rect'):
            right = float(element.get('x') or 0) + \
                float(element.get('width') or 0)
            bottom = float(element.get('y') or 0) + \
                float(element.get('height') or 0)
            self.assertLessEqual(right, 800)
            self.assertLessEqual(bottom, height)

    def test_cells_are_there(self) -> None:
        text = picture(usual().snapshot(), {})
        self.assertRegex(text, r'width="50" height="16" class="middle"')
        # Not all of it is shared, and that can be seen
        self.assertRegex(text, r'width="10" height="12" class="small"')


class Sessions(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / 'session'

    def record(self, count: int = 3) -> Session:
        qemu = usual()
        with self.path.open('w', encoding='utf-8') as output:
            recorder = Recorder(output, {'name': 'x'})
            snapshots = [qemu.snapshot(100 + i) for i in range(count)]
            for snapshot in snapshots:
                recorder.add(snapshot)
        return Session({'name': 'x'}, snapshots)

    def test_it_comes_back(self) -> None:
        self.assertEqual(self.record(), read_session(self.path))

    def test_it_is_small(self) -> None:
        self.record(1)
        self.assertLess(self.path.stat().st_size, 4 * KIB)

    def test_cut_at_the_end(self) -> None:
        kept = self.record()
        text = self.path.read_text(encoding='utf-8')
        self.path.write_text(text[:-20], encoding='utf-8')
        self.assertEqual(read_session(self.path).snapshots,
                         kept.snapshots[:-1])

    def test_no_sessions(self) -> None:
        for text in ('', '{}\n', 'x\n', '[]\n', '{"dma-map-view":1}\n',
                     '{"dma-map-view":1}\n{}\n{}\n',
                     '{"dma-map-view":2}\n{}\n'):
            self.path.write_text(text, encoding='utf-8')
            with self.assertRaises(MapError, msg=text):
                read_session(self.path)
        for data in (b'# Text\n\nand more\n', b'\xff\xfe\0\n', b'{"a":1}\n'):
            self.path.write_bytes(data)
            with self.assertRaisesRegex(MapError, '--record writes one$'):
                read_session(self.path)
        with self.assertRaisesRegex(MapError,
                                    'none: No such file or directory$'):
            read_session(self.path.with_name('none'))

    def test_the_tool_replays_it(self) -> None:
        self.record()
        result = subprocess.run(
            [sys.executable, str(TOOL), '--replay', str(self.path),
             '--interval', '0.05'], capture_output=True, text=True,
            env={**os.environ, 'COLUMNS': '60'}, check=False)
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        self.assertEqual(result.stdout.count('vfio-container[0]'), 3)
        self.assertNotIn('\x1b', result.stdout)
        self.assertLessEqual(max(map(len, result.stdout.splitlines())), 60)
        still = self.path.with_suffix('.svg')
        subprocess.run([sys.executable, str(TOOL), '--replay', str(self.path),
                        '--svg', str(still)], check=True)
        self.assertEqual(still.read_text(encoding='utf-8'), picture(
            usual().snapshot(102), {'name': 'x'}))


class Server(threading.Thread):
    """A QMP monitor of a FakeQemu, for one client."""

    def __init__(self, path: Path, greets: bool = True,
                 knows: bool = True) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._greets = greets
        self._knows = knows
        self._qemu = usual()
        self.client: socket.socket | None = None

    def run(self) -> None:
        self.client = self._socket.accept()[0]
        if not self._greets:
            return
        try:
            self._serve(self.client)
        except OSError:
            pass

    def _serve(self, client: socket.socket) -> None:
        def say(value: dict[str, Any]) -> None:
            client.sendall(json.dumps(value).encode() + b'\r\n')

        say({'QMP': {'version': {'qemu': {'major': 10, 'minor': 0,
                                          'micro': 0}, 'package': ''},
                     'capabilities': []}})
        # There is nothing between requests, and one comes at a time.
        while data := client.recv(1 << 16):
            request = json.loads(data)
            say({'id': request.get('id'), **self._answer(request)})

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request['execute']
        if name == 'qmp_capabilities':
            return {'return': {}}
        if not self._knows and name == 'query-guest-memfd':
            return {'error': {'class': 'CommandNotFound', 'desc': 'no'}}
        return {'return': self._qemu.execute(name,
                                             request.get('arguments', {}))}

    def end(self) -> None:
        for end in (self.client, self._socket):
            if end:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                end.close()


@unittest.skipUnless((LIBRARY / 'qemu/qmp').is_dir(),
                     "QEMU's Python library: scripts/build-qemu unpacks it")
class Live(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / 'qmp'

    def serve(self, **options: bool) -> Server:
        server = Server(self.path, **options)
        server.start()
        self.addCleanup(server.end)
        return server

    def run_tool(self, *options: str) -> tuple[int, str]:
        result = subprocess.run(
            [sys.executable, str(TOOL), str(self.path), *options],
            capture_output=True, text=True, timeout=120, check=False)
        return result.returncode, result.stderr

    def test_no_socket(self) -> None:
        status, words = self.run_tool()
        self.assertEqual(status, 1)
        self.assertIn('No such file or directory. Start QEMU', words)

    def test_another_client(self) -> None:
        self.serve(greets=False)
        status, words = self.run_tool()
        self.assertEqual(status, 1)
        self.assertIn('Is another client connected?', words)

    def test_another_qemu(self) -> None:
        self.serve(knows=False)
        status, words = self.run_tool()
        self.assertEqual(status, 1)
        self.assertIn('this QEMU has no query-guest-memfd', words)

    def test_picture_and_record(self) -> None:
        self.serve()
        still, kept = (self.path.with_suffix(name)
                       for name in ('.svg', '.jsonl'))
        self.assertEqual(self.run_tool('--svg', str(still), '--record',
                                       str(kept)), (0, ''))
        session = read_session(kept)
        self.assertEqual(session.guest, {'name': 'test guest'})
        self.assertEqual(len(session.snapshots), 1)
        self.assertEqual(still.read_text(encoding='utf-8'),
                         picture(session.snapshots[0], session.guest))

    def in_terminal(self, end: Any) -> tuple[int, str]:
        """Runs it in a terminal until there is a picture, then ends it."""
        server = self.serve()
        pid, terminal = pty.fork()
        if not pid:
            os.environ.update(TERM='xterm-256color', LC_ALL='C.UTF-8')
            os.execv(sys.executable, [sys.executable, str(TOOL),
                                      str(self.path), '--interval', '0.1'])
        shown = ''
        limit = time.monotonic() + 60
        ended = False
        while time.monotonic() < limit:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                shown += os.read(terminal, 1 << 16).decode(errors='replace')
            except OSError:
                break
            if not ended and 'vfio-container' in shown:
                ended = True
                end(server, pid, terminal)
        os.close(terminal)
        if not time.monotonic() < limit:
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown

    def check_restored(self, shown: str) -> None:
        self.assertEqual(shown.count('\x1b[?1049h'),
                         shown.count('\x1b[?1049l'))
        self.assertNotIn('Traceback', shown)

    def test_q_quits(self) -> None:
        status, shown = self.in_terminal(
            lambda server, pid, terminal: os.write(terminal, b'q'))
        self.assertEqual(status, 0, shown)
        self.check_restored(shown)
        self.assertTrue(re.search('█', shown))

    def test_interrupted(self) -> None:
        status, shown = self.in_terminal(
            lambda server, pid, terminal: os.write(terminal, b'\x03'))
        self.assertEqual(status, 0, shown)
        self.check_restored(shown)

    def test_qemu_gone(self) -> None:
        status, shown = self.in_terminal(
            lambda server, pid, terminal: server.end())
        self.assertEqual(status, 0, shown)
        self.check_restored(shown)
        self.assertIn('QEMU has ended', shown.rpartition('\x1b[?1049l')[2])


if __name__ == '__main__':
    unittest.main()
