# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the replay of the kernel's trace."""

import random
import unittest

from trace import MapReplay, TraceError, TraceReplay


def map_line(number: int, iova: int, size: int, cpu: int = 0) -> str:
    return (f'            qemu-93      [{cpu:03}] .....  {number}: map: '
            f'IOMMU: iova=0x{iova:016x} - 0x{iova + size:016x} '
            f'paddr=0x0000000101230000 size={size}')


def unmap_line(number: int, iova: int, size: int, unmapped: int) -> str:
    return (f'            qemu-93      [001] .....  {number}: unmap: '
            f'IOMMU: iova=0x{iova:016x} - 0x{iova + size:016x} '
            f'size={size} unmapped_size={unmapped}')


def marker_line(number: int, text: str) -> str:
    return f'              sh-80      [000] .....  {number}: ' \
           f'tracing_mark_write: {text}'


class MapReplayTest(unittest.TestCase):

    def test_counts_events(self) -> None:
        maps = MapReplay()
        maps.map(0x1000, 0x3000)
        maps.map(0x4000, 0x1000)
        self.assertEqual((maps.live_events, maps.peak_events), (2, 2))
        self.assertEqual(list(maps.mapped()), [(0x1000, 0x5000)])
        maps.unmap(0x2000, 0x1000)
        self.assertEqual(maps.live_events, 2)
        self.assertEqual(list(maps.mapped()),
                         [(0x1000, 0x2000), (0x3000, 0x5000)])
        maps.unmap(0x3000, 0x1000)
        self.assertEqual(maps.live_events, 2)
        maps.unmap(0x1000, 0x1000)
        self.assertEqual(maps.live_events, 1)
        maps.unmap(0x4000, 0x1000)
        self.assertEqual((maps.live_events, maps.peak_events,
                          maps.total_events), (0, 2, 2))
        self.assertEqual(maps.mapped().total(), 0)

    def test_unmap_over_several(self) -> None:
        maps = MapReplay()
        for at in range(8):
            maps.map(at * 0x1000, 0x1000)
        maps.unmap(0x1800, 0x4000)
        self.assertEqual(list(maps.mapped()),
                         [(0, 0x1800), (0x5800, 0x8000)])
        self.assertEqual(maps.live_events, 5)

    def test_counts_events_in_a_range(self) -> None:
        maps = MapReplay()
        maps.map(0x1000, 0x3000)
        maps.map(0x4000, 0x1000)
        maps.map(0x5000, 0x1000)
        maps.unmap(0x2000, 0x1000)
        for start, end, expected in (
                (0, 0x1000, 0), (0, 0x1001, 1), (0x1000, 0x4000, 1),
                (0x1fff, 0x4001, 2), (0x2000, 0x3000, 0), (0, 0x8000, 3)):
            self.assertEqual(maps.live_events_in(start, end), expected)

    def test_refuses_what_cannot_be(self) -> None:
        maps = MapReplay()
        maps.map(0x1000, 0x2000)
        for start in (0, 0x1000, 0x2000):
            with self.assertRaises(TraceError):
                maps.map(start, 0x2000)
        with self.assertRaises(TraceError):
            maps.unmap(0x8000, 0x1000)
        with self.assertRaises(TraceError):
            maps.unmap(0x2000, 0x2000)

    def test_against_sets(self) -> None:
        rng = random.Random(2)
        maps = MapReplay()
        owner: dict[int, int] = {}
        for event in range(600):
            start = rng.randrange(64)
            end = start + 1 + rng.randrange(6)
            pages = range(start, end)
            if not any(page in owner for page in pages):
                maps.map(start, end - start)
                owner |= dict.fromkeys(pages, event)
            elif all(page in owner for page in pages):
                maps.unmap(start, end - start)
                for page in pages:
                    del owner[page]
            self.assertEqual(maps.live_events, len(set(owner.values())))
            self.assertEqual({n for low, high in maps.mapped()
                              for n in range(low, high)}, set(owner))


class TraceReplayTest(unittest.TestCase):

    def test_stream(self) -> None:
        replay = TraceReplay()
        self.assertIsNone(replay.feed(map_line(1, 0x4000000, 8192)))
        self.assertIsNone(replay.feed(unmap_line(2, 0x4000000, 4096, 4096)))
        self.assertEqual(replay.feed(marker_line(3, 'marker 1')), 'marker 1')
        self.assertEqual(list(replay.maps.mapped()), [(0x4001000, 0x4002000)])
        self.assertEqual((replay.errors, replay.lost), ([], 0))

    def test_order_of_processors(self) -> None:
        replay = TraceReplay()
        replay.feed(unmap_line(2, 0x1000, 4096, 4096))
        replay.feed(map_line(3, 0x1000, 4096, 1))
        replay.feed(map_line(1, 0x1000, 4096, 1))
        replay.feed(marker_line(4, 'marker 1'))
        self.assertEqual(list(replay.maps.mapped()), [(0x1000, 0x2000)])
        self.assertEqual(replay.errors, [])

    def test_unmapped_size_counts(self) -> None:
        replay = TraceReplay()
        replay.feed(map_line(1, 0x200000, 0x200000))
        replay.feed(unmap_line(2, 0x200000, 0x1000, 0x200000))
        replay.feed(marker_line(3, 'marker 1'))
        self.assertEqual(replay.maps.mapped().total(), 0)

    def test_missing_line_is_seen(self) -> None:
        lines = [map_line(1, 0x1000, 4096), unmap_line(2, 0x1000, 4096, 4096),
                 map_line(3, 0x1000, 4096), unmap_line(4, 0x1000, 4096, 4096)]
        for missing in range(len(lines)):
            replay = TraceReplay()
            for line in lines[:missing] + lines[missing + 1:]:
                replay.feed(line)
            replay.feed(marker_line(5, 'marker 1'))
            self.assertTrue(replay.errors or replay.maps.mapped().total())

    def test_lost_events(self) -> None:
        replay = TraceReplay()
        replay.feed('CPU:1 [LOST 123 EVENTS]')
        self.assertEqual(replay.lost, 123)

    def test_unknown_line(self) -> None:
        replay = TraceReplay()
        replay.feed('something else')
        self.assertEqual(len(replay.errors), 1)


if __name__ == '__main__':
    unittest.main()
