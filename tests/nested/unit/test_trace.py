# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the replay of trace events of the kernel."""

import random
import unittest

from harness.intervals import IntervalSet
from harness.trace import MapLevels, MapReplay, TraceError, TraceReplay


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


def edge_line(number: int, word: str, gpa: int, size: int) -> str:
    return f'            qemu-93      [001] .....  {number}: ' \
           f'tracing_mark_write: edge {word} {gpa:#x} {size:#x}'


class MapReplayTest(unittest.TestCase):

    def test_event_counters(self) -> None:
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

    def test_unmap_of_several_mappings(self) -> None:
        maps = MapReplay()
        for at in range(8):
            maps.map(at * 0x1000, 0x1000)
        maps.unmap(0x1800, 0x4000)
        self.assertEqual(list(maps.mapped()),
                         [(0, 0x1800), (0x5800, 0x8000)])
        self.assertEqual(maps.live_events, 5)

    def test_event_counter_of_a_range(self) -> None:
        maps = MapReplay()
        maps.map(0x1000, 0x3000)
        maps.map(0x4000, 0x1000)
        maps.map(0x5000, 0x1000)
        maps.unmap(0x2000, 0x1000)
        for start, end, expected in (
                (0, 0x1000, 0), (0, 0x1001, 1), (0x1000, 0x4000, 1),
                (0x1fff, 0x4001, 2), (0x2000, 0x3000, 0), (0, 0x8000, 3)):
            self.assertEqual(maps.live_events_in(start, end), expected)

    def test_rejects_overlapping_map_and_unmapped_unmap(self) -> None:
        maps = MapReplay()
        maps.map(0x1000, 0x2000)
        for start in (0, 0x1000, 0x2000):
            with self.assertRaises(TraceError):
                maps.map(start, 0x2000)
        with self.assertRaises(TraceError):
            maps.unmap(0x8000, 0x1000)
        with self.assertRaises(TraceError):
            maps.unmap(0x2000, 0x2000)

    def test_mapped_parts_of_a_range(self) -> None:
        maps = MapReplay()
        maps.map(0x1000, 0x3000)
        maps.map(0x6000, 0x1000)
        self.assertEqual(list(maps.mapped_in(0x3000, 0x9000)),
                         [(0x3000, 0x4000), (0x6000, 0x7000)])
        self.assertEqual(list(maps.mapped_in(0x4000, 0x6000)), [])

    def test_random_events_compared_with_sets(self) -> None:
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


class MapLevelsTest(unittest.TestCase):

    def levels(self, maps: MapLevels) -> list[list[tuple[int, int]]]:
        return [list(level) for level in maps.mapped()]

    def test_two_containers_map_in_other_pieces(self) -> None:
        maps = MapLevels(2)
        maps.map(0x1000, 0x4000)
        maps.map(0x3000, 0x4000)
        self.assertEqual(self.levels(maps),
                         [[(0x1000, 0x7000)], [(0x3000, 0x5000)]])
        maps.map(0x1000, 0x2000)
        maps.unmap(0x1000, 0x4000)
        self.assertEqual(self.levels(maps),
                         [[(0x1000, 0x7000)], []])
        maps.unmap(0x1000, 0x6000)
        self.assertEqual(self.levels(maps), [[], []])

    def test_page_that_one_container_lacks(self) -> None:
        maps = MapLevels(2)
        for _ in range(2):
            maps.map(0x1000, 0x8000)
        maps.unmap(0x4000, 0x1000)
        self.assertEqual(self.levels(maps), [
            [(0x1000, 0x9000)], [(0x1000, 0x4000), (0x5000, 0x9000)]])

    def test_page_that_one_container_keeps(self) -> None:
        maps = MapLevels(2)
        for _ in range(2):
            maps.map(0x1000, 0x8000)
        maps.unmap(0x1000, 0x8000)
        maps.unmap(0x1000, 0x3000)
        maps.unmap(0x5000, 0x4000)
        self.assertEqual(self.levels(maps), [[(0x4000, 0x5000)], []])
        self.assertEqual(list(maps.any.mapped()), [(0x4000, 0x5000)])

    def test_rejects_more_mappings_than_containers(self) -> None:
        for containers in (1, 2, 3):
            maps = MapLevels(containers)
            for _ in range(containers):
                maps.map(0x1000, 0x2000)
            before = maps.mapped()
            with self.assertRaises(TraceError):
                maps.map(0, 0x2000)
            self.assertEqual(maps.mapped(), before)

    def test_rejects_unmapped_unmap(self) -> None:
        maps = MapLevels(2)
        maps.map(0x1000, 0x2000)
        maps.map(0x1000, 0x1000)
        maps.unmap(0x1000, 0x2000)
        with self.assertRaises(TraceError):
            maps.unmap(0x1000, 0x2000)

    def test_number_of_containers(self) -> None:
        maps = MapLevels(3)
        maps.map(0x1000, 0x2000)
        maps.map(0x2000, 0x1000)
        for start, end, expected in ((0, 0x1000, 0), (0x1000, 0x2000, 1),
                                     (0x1000, 0x2001, 2), (0, 0x9000, 2)):
            self.assertEqual(maps.count_containers(
                IntervalSet([(start, end)])), expected)
        self.assertEqual(maps.count_containers(
            IntervalSet([(0, 0x1000), (0x2800, 0x3000)])), 2)

    def test_random_events_compared_with_counters(self) -> None:
        rng = random.Random(3)
        maps = MapLevels(3)
        containers: list[set[int]] = [set(), set(), set()]
        for _ in range(600):
            container = rng.choice(containers)
            start = rng.randrange(64)
            pages = set(range(start, start + 1 + rng.randrange(6)))
            if not pages & container:
                maps.map(start, len(pages))
                container |= pages
            elif pages <= container:
                maps.unmap(start, len(pages))
                container -= pages
            for number, level in enumerate(maps.mapped(), 1):
                self.assertEqual(
                    {page for low, high in level
                     for page in range(low, high)},
                    {page for page in range(70)
                     if sum(page in one for one in containers) >= number})


class EdgeReplayTest(unittest.TestCase):

    def play(self, *events: tuple[str, int, int]) -> TraceReplay:
        """Replay (word, first page, number of pages) events in order.

        The guest has one memory slot of 64 pages.
        """
        replay = TraceReplay()
        replay.feed(edge_line(0, 'slot', 0, 64 << 12))
        number = 0
        for number, (word, page, pages) in enumerate(events, 1):
            start, size = page << 12, pages << 12
            replay.feed(
                map_line(number, start, size) if word == 'map' else
                unmap_line(number, start, size, size) if word == 'unmap' else
                edge_line(number, word, start, size))
        replay.feed(marker_line(number + 1, 'end'))
        self.assertEqual(replay.errors, [])
        return replay

    def check(self, exposures: list[str], *events: tuple[str, int, int]
              ) -> None:
        self.assertEqual(self.play(*events).edge.exposures, exposures)

    def test_conversions_in_order(self) -> None:
        self.check([], ('private', 0, 64),
                   ('shared', 8, 8), ('map', 8, 8), ('unmap', 8, 8),
                   ('map', 8, 4), ('private', 12, 4), ('free', 12, 4))

    def test_private_before_unmap(self) -> None:
        self.check(['0x8000+0x2000 became private while mapped: '
                    'IntervalSet([(0x8000, 0x9000)])'],
                   ('map', 8, 1), ('private', 8, 2), ('unmap', 8, 1))

    def test_map_before_shared(self) -> None:
        self.check(['0x8000+0x1000 was mapped while private: '
                    'IntervalSet([(0x8000, 0x9000)])'],
                   ('private', 0, 16), ('map', 8, 1), ('shared', 8, 1))

    def test_free_before_unmap(self) -> None:
        self.check(['0x8000+0x2000 was freed while mapped: '
                    'IntervalSet([(0x9000, 0xa000)])'],
                   ('map', 9, 2), ('free', 8, 2))

    def test_extent_over_a_private_page(self) -> None:
        exposures = self.play(('private', 9, 1), ('map', 8, 4)).edge.exposures
        self.assertEqual(exposures, [
            '0x8000+0x4000 was mapped while private: '
            'IntervalSet([(0x9000, 0xa000)])',
            '0x9000+0x1000 is private while mapped: '
            'IntervalSet([(0x9000, 0xa000)])'])

    def test_take_exposures_returns_texts_and_memory(self) -> None:
        edge = self.play(('map', 9, 2), ('free', 8, 2), ('free', 10, 2)).edge
        texts, memory = edge.take_exposures()
        self.assertEqual(len(texts), 2)
        self.assertEqual(memory, IntervalSet([(0x9000, 0xb000)]))
        self.assertEqual(edge.take_exposures(), ([], IntervalSet()))

    def test_backed_memory(self) -> None:
        edge = self.play(('map', 8, 4), ('unmap', 8, 4), ('free', 9, 2),
                         ('attaching', 0, 0), ('map', 0, 1),
                         ('unmap', 0, 1), ('attached', 0, 0)).edge
        self.assertEqual(edge.backed, IntervalSet([(0x8000, 0x9000),
                                                   (0xb000, 0xc000)]))

    def test_failed_conversion(self) -> None:
        replay = self.play(('private', 8, 1), ('private', 8, 4),
                           ('kept', 8, 4), ('map', 9, 3))
        self.assertEqual(replay.edge.private, IntervalSet([(0x8000, 0x9000)]))
        self.assertEqual(replay.edge.exposures, [])

    def test_removed_slot_may_be_mapped(self) -> None:
        self.check([], ('private', 0, 64), ('gone', 0, 64), ('map', 8, 4))

    def test_attributes_outlive_removed_slot(self) -> None:
        replay = self.play(('private', 0, 64), ('gone', 0, 64),
                           ('shared', 4, 1), ('map', 8, 1), ('private', 8, 1),
                           ('unmap', 8, 1), ('slot', 2, 30))
        self.assertEqual(replay.edge.private, IntervalSet(
            [(0x2000, 0x4000), (0x5000, 0x20000)]))
        self.assertEqual(replay.edge.exposures, [])
        self.assertEqual(len(self.play(
            ('private', 0, 64), ('gone', 0, 64), ('map', 8, 1),
            ('slot', 0, 64)).edge.exposures), 1)

    def test_failed_conversion_outside_slots(self) -> None:
        replay = self.play(('gone', 0, 32), ('private', 31, 1),
                           ('private', 30, 4), ('kept', 30, 4),
                           ('slot', 0, 32))
        self.assertEqual(replay.edge.private,
                         IntervalSet([(0x1f000, 0x20000)]))

    def test_mappings_while_container_is_attached(self) -> None:
        test = [('map', 0, 2), ('unmap', 0, 2)]
        self.check([], ('private', 0, 64), ('attaching', 0, 0), *test,
                   ('attached', 0, 0))
        self.assertEqual(len(self.play(
            ('private', 0, 64), ('attaching', 0, 0), ('attached', 0, 0),
            *test).edge.exposures), 1)

    def test_events_are_sorted_by_time(self) -> None:
        replay = TraceReplay()
        replay.feed(edge_line(2, 'private', 0x1000, 0x1000))
        replay.feed(map_line(0, 0x1000, 0x1000))
        replay.feed(unmap_line(1, 0x1000, 0x1000, 0x1000))
        replay.feed(marker_line(3, 'marker 1'))
        self.assertEqual(replay.edge.exposures, [])

    def test_unknown_event_is_an_error(self) -> None:
        replay = TraceReplay()
        replay.feed(edge_line(1, 'other', 0x1000, 0x1000))
        replay.feed(marker_line(2, 'marker 1'))
        self.assertEqual(len(replay.errors), 1)


class RemapReplayTest(unittest.TestCase):

    def setUp(self) -> None:
        self.replay = TraceReplay()
        self.number = 0
        self.play('slot', 0, 1 << 30)
        self.play('map', 0, 0x200000)
        self.play('map', 0x400000, 0x1000)

    def play(self, what: str, start: int, size: int) -> None:
        self.number += 1
        if what == 'map':
            line = map_line(self.number, start, size)
        elif what == 'unmap':
            line = unmap_line(self.number, start, size, size)
        else:
            line = edge_line(self.number, what, start, size)
        self.replay.feed(line)

    def remapped(self) -> int:
        self.replay.feed(marker_line(self.number + 1, 'now'))
        self.assertFalse(self.replay.errors)
        return self.replay.remaps.take_remapped()

    def test_split(self) -> None:
        self.play('unmap', 0, 0x200000)
        self.play('map', 0, 0x1000)
        self.play('map', 0x2000, 0x1fe000)
        self.play('private', 0x1000, 0x1000)
        self.assertEqual(self.remapped(), 0x1ff000)

    def test_discard_and_populate(self) -> None:
        self.play('unmap', 0, 0x200000)
        self.play('private', 0, 0x200000)
        self.play('shared', 0, 0x200000)
        self.play('map', 0, 0x200000)
        self.assertEqual(self.remapped(), 0)

    def test_merge(self) -> None:
        self.play('unmap', 0x400000, 0x1000)
        self.play('map', 0x400000, 0x2000)
        self.assertEqual(self.remapped(), 0x1000)

    def test_closed_gate(self) -> None:
        self.play('unmap', 0x400000, 0x1000)
        self.play('unmap', 0, 0x200000)
        self.play('map', 0, 0x200000)
        self.play('map', 0x400000, 0x1000)
        self.assertEqual(self.remapped(), 0)

    def test_closed_gate_with_registers_mapped(self) -> None:
        self.play('map', 0xfe000000, 0x1000)
        self.play('unmap', 0, 0x200000)
        self.play('unmap', 0x400000, 0x1000)
        self.play('map', 0, 0x200000)
        self.assertEqual(self.remapped(), 0)


class TwoContainersTest(unittest.TestCase):

    def play(self, *events: tuple[str, int, int]) -> TraceReplay:
        """Replay (word, first page, number of pages) events in order.

        Before them, two containers map the first 16 pages and the last one of
        a memory slot of 64.
        """
        replay = TraceReplay(2)
        replay.feed(edge_line(0, 'slot', 0, 64 << 12))
        both = [('map', 0, 16), ('map', 63, 1)] * 2
        number = 0
        for number, (word, page, pages) in enumerate([*both, *events], 1):
            start, size = page << 12, pages << 12
            replay.feed(
                map_line(number, start, size) if word == 'map' else
                unmap_line(number, start, size, size) if word == 'unmap' else
                edge_line(number, word, start, size))
        replay.feed(marker_line(number + 1, 'end'))
        self.assertEqual(replay.errors, [])
        return replay

    def test_private_page_that_one_container_maps(self) -> None:
        replay = self.play(('unmap', 0, 16), ('private', 3, 1))
        self.assertTrue(replay.edge.exposures)
        replay = self.play(('unmap', 0, 16), ('unmap', 0, 16),
                           ('private', 3, 1))
        self.assertFalse(replay.edge.exposures)

    def test_split_in_one_container(self) -> None:
        replay = self.play(('unmap', 0, 16), ('map', 0, 8), ('map', 8, 8))
        self.assertEqual(replay.remaps.take_remapped(), 16 << 12)

    def test_gate_of_one_container(self) -> None:
        closed = [('unmap', 0, 16), ('unmap', 63, 1)]
        opened = [('map', 63, 1), ('map', 0, 16)]
        replay = self.play(*closed, *opened)
        self.assertEqual(replay.remaps.take_remapped(), 0)
        # The container that is still open unmaps memory
        replay = self.play(*closed, ('unmap', 0, 16), ('map', 0, 16), *opened)
        self.assertEqual(replay.remaps.take_remapped(), 16 << 12)

    def test_gates_of_both_containers(self) -> None:
        closed = [('unmap', 0, 16), ('unmap', 63, 1)]
        opened = [('map', 63, 1), ('map', 0, 16)]
        replay = self.play(*closed, *closed, *opened, *opened)
        self.assertEqual(replay.remaps.take_remapped(), 0)

    def test_registers_do_not_count(self) -> None:
        replay = self.play(('map', 512, 1), ('unmap', 512, 1),
                           ('map', 512, 1))
        self.assertEqual(replay.remaps.take_remapped(), 0)


class TraceReplayTest(unittest.TestCase):

    def test_events_up_to_a_marker(self) -> None:
        replay = TraceReplay()
        self.assertIsNone(replay.feed(map_line(1, 0x4000000, 8192)))
        self.assertIsNone(replay.feed(unmap_line(2, 0x4000000, 4096, 4096)))
        self.assertEqual(replay.feed(marker_line(3, 'marker 1')), 'marker 1')
        self.assertEqual(list(replay.maps.mapped()), [(0x4001000, 0x4002000)])
        self.assertEqual((replay.errors, replay.lost), ([], 0))

    def test_events_are_sorted_by_time(self) -> None:
        replay = TraceReplay()
        replay.feed(unmap_line(2, 0x1000, 4096, 4096))
        replay.feed(map_line(3, 0x1000, 4096, 1))
        replay.feed(map_line(1, 0x1000, 4096, 1))
        replay.feed(marker_line(4, 'marker 1'))
        self.assertEqual(list(replay.maps.mapped()), [(0x1000, 0x2000)])
        self.assertEqual(replay.errors, [])

    def test_unmap_removes_unmapped_size(self) -> None:
        replay = TraceReplay()
        replay.feed(map_line(1, 0x200000, 0x200000))
        replay.feed(unmap_line(2, 0x200000, 0x1000, 0x200000))
        replay.feed(marker_line(3, 'marker 1'))
        self.assertEqual(replay.maps.mapped().total(), 0)

    def test_missing_line_is_detected(self) -> None:
        lines = [map_line(1, 0x1000, 4096), unmap_line(2, 0x1000, 4096, 4096),
                 map_line(3, 0x1000, 4096), unmap_line(4, 0x1000, 4096, 4096)]
        for missing in range(len(lines)):
            replay = TraceReplay()
            for line in lines[:missing] + lines[missing + 1:]:
                replay.feed(line)
            replay.feed(marker_line(5, 'marker 1'))
            self.assertTrue(replay.errors or replay.maps.mapped().total())

    def test_lost_events_are_counted(self) -> None:
        replay = TraceReplay()
        replay.feed('CPU:1 [LOST 123 EVENTS]')
        self.assertEqual(replay.lost, 123)

    def test_unknown_line_is_an_error(self) -> None:
        replay = TraceReplay()
        replay.feed('something else')
        self.assertEqual(len(replay.errors), 1)
