# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the measurement of gaps, and of its rows in the table."""

import unittest

from harness.comparison import (Outcome, Outcomes, Row, Run, all_rows,
                                longest_gap)
from harness.figures import Figures, GapFigures, Measurement
from harness.gaps import BLOCK_SIZE, find_remaps, measure_gaps

PAGE = 4096


def row(name: str, backends: tuple[str, ...]) -> Row:
    return next(row for row in all_rows(backends) if row.name == name)


def program_runs(of: Row) -> list[Run]:
    return [run for run in of.runs() if isinstance(run, Run)]


def event(stamp: int, name: str, start: int, size: int) -> str:
    more = f' unmapped_size={size}' if name == 'unmap' else ''
    return f'  qemu-93  [000] .....  {stamp}: {name}: IOMMU: ' \
           f'iova={start:#x} - {start + size:#x} ' + \
           ('paddr=0x1000 ' if name == 'map' else '') + f'size={size}{more}'


class RemapsTest(unittest.TestCase):

    def test_parts_are_mapped_again(self) -> None:
        self.assertEqual(list(find_remaps([
            '# tracer: nop', event(1, 'map', 0, 8 * PAGE),
            event(100, 'unmap', 0, 8 * PAGE),
            event(130, 'map', 0, 3 * PAGE),
            event(150, 'map', 4 * PAGE, 4 * PAGE),
            event(400, 'map', 3 * PAGE, PAGE)])),
            [(0, 3 * PAGE, 30), (4 * PAGE, 4 * PAGE, 50),
             (3 * PAGE, PAGE, 300)])

    def test_several_unmaps_before_one_map(self) -> None:
        self.assertEqual(list(find_remaps([
            event(10, 'unmap', 0, PAGE), event(20, 'unmap', PAGE, PAGE),
            event(25, 'map', 0, 3 * PAGE)])),
            [(0, PAGE, 15), (PAGE, PAGE, 5)])

    def test_a_cut_is_no_gap(self) -> None:
        self.assertEqual(list(find_remaps([
            event(1, 'map', 0, 8 * PAGE), event(2, 'unmap', 0, PAGE)])), [])


class GapsTest(unittest.TestCase):

    def test_longest_gap_of_each_extent(self) -> None:
        lines = []
        for number, (size, late) in enumerate([(2, 50), (4, 70), (2, 60)]):
            base, stamp = number * BLOCK_SIZE, number * 1000
            lines += [event(stamp, 'unmap', base, size * PAGE),
                      event(stamp + 40, 'map', base, PAGE)]
            if size > 2:
                lines.append(event(stamp + late, 'map', base + 2 * PAGE,
                                   (size - 2) * PAGE))
        self.assertEqual(measure_gaps(lines), [
            GapFigures(2 * PAGE, [40, 40]), GapFigures(4 * PAGE, [70])])

    def test_row(self) -> None:
        gaps = row('gaps', ('type1', 'iommufd'))
        runs = program_runs(gaps)
        self.assertEqual(
            [(run.backend, run.extent, run.icount) for run in runs],
            [('type1', '', True), ('iommufd', '', True),
             ('iommufd', 'superpage', True)])
        figures = Figures(gaps=[GapFigures(8 << 10, [5, 900, 6])])
        outcomes: Outcomes = {
            run: Outcome(figures if run.backend == 'type1' else Figures())
            for run in runs}
        cells = {line.label: line.cell(outcomes) for line in gaps.lines}
        self.assertEqual(cells['8 KiB; type1'], '6')
        self.assertEqual(cells['16 KiB; type1'], 'none')
        self.assertEqual(cells['2048 KiB; iommufd superpage'], 'none')
        self.assertEqual(cells['any size, longest; iommufd'], 'none')
        self.assertEqual(longest_gap(figures), '900')


class CutsTest(unittest.TestCase):

    def test_row(self) -> None:
        cuts = row('cuts', ('iommufd',))
        # Instructions of the two measured blocks
        ticks = {('none', ''): (10, 20), ('iommufd', ''): (30, 50),
                 ('iommufd', 'superpage'): (90, 60)}
        outcomes: Outcomes = {run: Outcome(Figures(measurements=[
            Measurement('m', count * 1_000_000, 2000)
            for count in ticks[run.backend, run.extent]]))
            for run in program_runs(cuts)}
        cells = {line.label: line.cell(outcomes) for line in cuts.lines}
        self.assertEqual(cells, {
            'whole blocks; no device': '10.0 M',
            'whole blocks; iommufd': '30.0 M, +20.0 M, 3.000x',
            'whole blocks; iommufd superpage': '90.0 M, +80.0 M, 9.000x',
            'the same pages again; no device': '20.0 M',
            'the same pages again; iommufd': '50.0 M, +30.0 M, 2.500x',
            'the same pages again; iommufd superpage':
                '60.0 M, +40.0 M, 3.000x'})
