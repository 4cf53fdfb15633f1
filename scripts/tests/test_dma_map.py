# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the map of shared memory: cells, text, picture, sessions."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from dma_map.query import (GIB, KIB, MIB, QUERY_CELLS, MapError, Range,
                           Recorder, Session, State, join_near, make_rates,
                           make_strip, parse_window, read_session, size_text)
from dma_map.svg import picture
from dma_map.text import Look, container_name, plain_text, render
from tests.fake_qemu import FakeQemu, usual

TOOL = Path(__file__).resolve().parent.parent / 'dma-map-view'


class StripTest(unittest.TestCase):
    def strip(self, qemu: FakeQemu, columns: int = 64, rows: int = 8,
              wanted: Range | None = None) -> Any:
        return make_strip(qemu.snapshot(wanted=wanted), columns, rows, wanted)

    def test_cell_states(self) -> None:
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

    def test_unmapped_cell_is_waiting_or_missing(self) -> None:
        for is_open, state in ((False, State.WAITING), (True, State.MISSING)):
            qemu = FakeQemu(shared=[(0, 8 * MIB)],
                            extents=[(0, 8 * MIB, False)], is_open=is_open)
            self.assertEqual(self.strip(qemu).parts[0].cells[0].state, state)

    def test_state_of_each_extent_size(self) -> None:
        for size, state in ((4 * KIB, State.SMALL), (512 * KIB, State.SMALL),
                            (MIB, State.MIDDLE), (GIB, State.LARGE)):
            qemu = FakeQemu(shared=[(0, size)], extents=[(0, size, True)])
            self.assertEqual(self.strip(qemu).parts[0].cells[0].state, state)

    def test_without_device(self) -> None:
        cells = self.strip(FakeQemu(shared=[(0, 4 * MIB)])).parts[0].cells
        self.assertEqual([cell.state for cell in cells[:2]],
                         [State.SHARED, State.PRIVATE])

    def test_memory_above_4_gib(self) -> None:
        qemu = FakeQemu(3 * GIB, [(2 * GIB, 4 * KIB)])
        strip = self.strip(qemu)
        self.assertEqual([part.start for part in strip.parts],
                         [0, 4 * GIB])
        self.assertEqual(strip.parts[1].cells[0].state, State.SHARED)
        self.assertEqual(strip.parts[0].cells[0].state, State.PRIVATE)

    def test_single_shared_page_is_shown(self) -> None:
        for gpa in (0, 123 * MIB + 4 * KIB, 2 * GIB - 4 * KIB):
            qemu = FakeQemu(shared=[(gpa, 4 * KIB)])
            cells = self.strip(qemu).parts[0].cells
            shown = [index for index, cell in enumerate(cells) if cell.share]
            self.assertEqual(shown, [gpa // (4 * MIB)])

    def test_memory_size_not_divisible_by_cells(self) -> None:
        memory = 100 * MIB + 4 * KIB
        for columns, rows in ((1, 1), (7, 3), (64, 8), (176, 8)):
            qemu = FakeQemu(memory, [(0, memory)])
            strip = self.strip(qemu, columns, rows)
            for cell in strip.parts[0].cells:
                self.assertAlmostEqual(cell.share, 1, 4)

    def test_last_cell_smaller_than_others(self) -> None:
        # All cells of a run share the same size; the last cell is smaller
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

    def test_tebibyte_guest(self) -> None:
        qemu = usual(1 << 40)
        strip = self.strip(qemu)
        self.assertLessEqual(len(strip.parts[0].cells), 8 * 64)
        self.assertEqual(strip.parts[0].cells[0].state, State.MIDDLE)
        self.assertEqual(qemu.largest_answer, QUERY_CELLS)

    def test_virtio_mem_without_guest_memfd(self) -> None:
        qemu = FakeQemu(extents=[(4 * GIB, 2 * MIB, True)])
        qemu.has_memfd = False
        strip = self.strip(qemu)
        self.assertEqual({cell.state for part in strip.parts
                          for cell in part.cells},
                         {State.MIDDLE, State.HOLE})

    def test_join_near_limits_number_of_parts(self) -> None:
        parts = [Range(i << 40, (i << 40) + (i + 1) * MIB) for i in range(20)]
        self.assertEqual(len(join_near(parts)), 8)


class TextTest(unittest.TestCase):
    def looks(self) -> list[Look]:
        return [Look(width, height, colour, unicode)
                for width in range(20, 201)
                for height in (5, 12, 24)
                for colour, unicode in ((False, False), (True, True))]

    def qemus(self) -> list[FakeQemu]:
        empty = FakeQemu()
        empty.has_memfd = False
        return [usual(), usual(1 << 40), FakeQemu(), empty]

    def test_output_fits_terminal(self) -> None:
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

    def test_ascii_output(self) -> None:
        text = plain_text(render(usual().snapshot(), {}, {}, Look(80)))
        self.assertTrue(text.isascii())
        self.assertIn('0x0 ................MMMMMkMMMMMMMMMM......', text)
        for word in ('. private', 'M mapped, 1M and more', 'gate open',
                     '64 MiB of 2 GiB shared (3.1 %)', 'pc.ram',
                     'map 40', '65460 of 65500 entries left', '2M: 31'):
            self.assertIn(word, text)

    def test_unicode_shades(self) -> None:
        qemu = FakeQemu(shared=[(0, MIB), (4 * MIB, 4 * MIB)])
        text = plain_text(render(qemu.snapshot(), {}, {},
                                 Look(80, None, True, True)))
        self.assertIn('0x0 ▒█·', text)

    def test_no_guest_memfd_and_no_container(self) -> None:
        text = plain_text(render(self.qemus()[3].snapshot(), {}, {},
                                 Look(80)))
        self.assertIn('No RAM block has a guest_memfd', text)
        self.assertIn('there is no VFIO container', text)

    def test_messages_are_wrapped(self) -> None:
        note = '0x1000+0x2000 was not converted to shared: No space left'
        text = plain_text(render(self.qemus()[3].snapshot(), {}, {}, Look(30),
                                 note))
        for sentence in (note, 'this guest has no private memory.',
                         'there is no VFIO container.'):
            self.assertIn(sentence, text.replace('\n', ' '))

    def test_singular_and_plural_range(self) -> None:
        qemu = FakeQemu(shared=[(0, MIB)])
        text = plain_text(render(qemu.snapshot(), {}, {}, Look(80)))
        self.assertIn('shared 1 MiB in 1 range ', text)
        qemu.shared.append((4 * MIB, MIB))
        text = plain_text(render(qemu.snapshot(), {}, {}, Look(80)))
        self.assertIn('shared 2 MiB in 2 ranges ', text)

    def test_last_failure_without_control_characters(self) -> None:
        snapshot = usual().snapshot()
        snapshot['guest-memfd'][0]['last-failure'] = {
            'offset': 4096, 'size': 8192, 'to-private': False,
            'error': 'No space\x1b[2J left'}
        text = plain_text(render(snapshot, {}, {}, Look(80)))
        self.assertIn('0x1000+0x2000 to shared: No space?[2J left', text)

    def test_rates_of_counters(self) -> None:
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

    def test_size_text(self) -> None:
        for size, text in ((0, '0'), (4096, '4 KiB'), (MIB - 1, '1 MiB'),
                           (64 * MIB + 65536, '64.1 MiB'), (1 << 40, '1 TiB'),
                           (5 << 39, '2.5 TiB')):
            self.assertEqual(size_text(size), text)

    def test_parse_window(self) -> None:
        self.assertEqual(parse_window('0x1000+4K'), Range(4096, 8192))
        self.assertEqual(parse_window('4G+1g'), Range(4 * GIB, 5 * GIB))
        for text in ('', '1', '0+0', '1+4K', '0+x', '-4K+8K',
                     '0xfffffffffffff000+8K'):
            with self.assertRaises(MapError, msg=text):
                parse_window(text)


class PictureTest(unittest.TestCase):
    def test_svg_is_well_formed_and_deterministic(self) -> None:
        several = usual().snapshot()
        several['vfio-dma'].append({**several['vfio-dma'][0],
                                    'qom-path': '/machine/b[1]'})
        for snapshot in (usual().snapshot(), usual(1 << 40).snapshot(),
                         FakeQemu().snapshot(), several,
                         TextTest().qemus()[3].snapshot()):
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

    def test_rectangles_are_inside_the_picture(self) -> None:
        root = ElementTree.fromstring(picture(usual(1 << 40).snapshot(), {}))
        height = float(root.get('height') or 0)
        for element in root.iter('{http://www.w3.org/2000/svg}rect'):
            right = float(element.get('x') or 0) + \
                float(element.get('width') or 0)
            bottom = float(element.get('y') or 0) + \
                float(element.get('height') or 0)
            self.assertLessEqual(right, 800)
            self.assertLessEqual(bottom, height)

    def test_rectangles_of_full_and_partial_cells(self) -> None:
        text = picture(usual().snapshot(), {})
        self.assertRegex(text, r'width="50" height="16" class="middle"')
        # The cell is partly shared, so it is not filled completely
        self.assertRegex(text, r'width="10" height="12" class="small"')


class SessionTest(unittest.TestCase):
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

    def test_recorded_session_is_read_back(self) -> None:
        self.assertEqual(self.record(), read_session(self.path))

    def test_size_of_recorded_snapshot(self) -> None:
        self.record(1)
        self.assertLess(self.path.stat().st_size, 4 * KIB)

    def test_incomplete_last_snapshot_is_dropped(self) -> None:
        kept = self.record()
        text = self.path.read_text(encoding='utf-8')
        self.path.write_text(text[:-20], encoding='utf-8')
        self.assertEqual(read_session(self.path).snapshots,
                         kept.snapshots[:-1])

    def test_invalid_files_are_rejected(self) -> None:
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

    def test_replay_as_text_and_svg(self) -> None:
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


if __name__ == '__main__':
    unittest.main()
