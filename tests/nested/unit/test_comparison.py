# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the table that compares QEMUs, and of its cells."""

import unittest

from harness.checks import Result
from harness.comparison import (MAP_EVENTS_NOTE, Outcome, Outcomes, Row, Run,
                                all_rows, describe_failure, entries,
                                format_table, instructions, latency, pace,
                                qemu_message)
from harness.figures import (BootFigures, Figures, IoFigures, Latency, Load,
                             Measurement, State)
from harness.guest_options import GuestMemory
from harness.linux_cost import LinuxCost
from harness.program import compile_program, find_program
from harness.session import check_program

DEVICE_ERROR = ('qemu-system-x86_64: -device vfio-pci,host=0000:00:02.0: '
                'vfio 0000:00:02.0: no room: Device or resource busy')


def outcome(states: list[State] | None = None, ticks: int = 0,
            failure: str = '') -> Outcome:
    return Outcome(Figures(
        states=states or [], measurements=[Measurement('m', ticks, 1)]),
        failure)


def row(name: str, backends: tuple[str, ...] = ('type1',)) -> Row:
    return next(row for row in all_rows(backends) if row.name == name)


def failed(name: str, diagnostics: str) -> Result:
    return Result(False, name, diagnostics)


class FailureTest(unittest.TestCase):

    def test_message_of_qemu(self) -> None:
        self.assertEqual(
            qemu_message(f'qemu: warning: slow\n{DEVICE_ERROR}\nqemu: hint'),
            'vfio 0000:00:02.0: no room: Device or resource busy')
        self.assertEqual(qemu_message('qemu: warning: only that'),
                         'warning: only that')
        self.assertEqual(qemu_message('qemu: vfio: Cannot reset device 0, no '
                                      'available reset mechanism.\nqemu: why'),
                         'why')
        self.assertEqual(qemu_message('\n'), '')

    def test_no_failure(self) -> None:
        self.assertEqual(describe_failure(True, []), '')

    def test_qemu_ends_with_message(self) -> None:
        failures = [failed('the level 2 machine works',
                           f'QEMU ended with status 1\n{DEVICE_ERROR}\n')]
        message = 'vfio 0000:00:02.0: no room: Device or resource busy'
        self.assertEqual(describe_failure(False, failures),
                         f'does not start: {message}')
        self.assertEqual(describe_failure(True, failures),
                         f'breaks off: {message}')

    def test_qemu_ends_without_message(self) -> None:
        failures = [failed('the level 2 machine works',
                           'QEMU ended with status 1\n')]
        self.assertEqual(describe_failure(False, failures),
                         'does not start: QEMU ended with status 1')

    def test_monitor_does_not_answer(self) -> None:
        failures = [failed('the level 2 machine works',
                           'QMP command quit : TimeoutError\n'
                           f'{DEVICE_ERROR}\n')]
        self.assertEqual(describe_failure(True, failures),
                         'stands still: QMP command quit : TimeoutError')

    def test_failed_conversion(self) -> None:
        call = '16 hypercall cpu=0 gpa=0x10 pages=0x7f ret=-28 expected=0'
        failures = [failed('line 16, sync: 1 conversion calls',
                           'guest says 0'),
                    failed('line 15: repeat 8',
                           f'note\n{call}\nfailures=1')]
        self.assertEqual(describe_failure(True, failures),
                         'fails, ENOSPC: line 16, gpa=0x10 pages=0x7f')

    def test_qemu_ends_after_failed_conversion(self) -> None:
        failures = [failed('line 16: share 16M 1G', '16 hypercall cpu=0 '
                           'gpa=0x10 pages=0x7f ret=-28 expected=0'),
                    failed('the level 2 machine works',
                           'QEMU ended\nqemu: why')]
        self.assertEqual(describe_failure(True, failures), 'breaks off: why')

    def test_level_1_error(self) -> None:
        self.assertEqual(
            describe_failure(False, [failed('the level 1 machine works',
                                     'level 1: no file\nmore')]),
            'no result: level 1: no file')

    def test_other_failed_check(self) -> None:
        self.assertEqual(
            describe_failure(True, [failed('no event was lost',
                                           '5 were lost')]),
            'wrong: no event was lost')


class CellTest(unittest.TestCase):

    def test_entries(self) -> None:
        before = State(1, 17, 2, 4)
        self.assertEqual(entries(State(2, 99, 34, 40), before), '32')
        self.assertEqual(entries(State(2, 99, 34, 40)), '34')

    def test_map_events_replace_unknown_entries(self) -> None:
        before = State(1, 17, None, 4)
        self.assertEqual(entries(State(2, 99, None, 40), before), '36*')
        self.assertEqual(entries(State(2, 99, None, 40)), '40*')

    def test_unknown_entries(self) -> None:
        self.assertEqual(entries(State(2, 99, None, None)), '-')
        self.assertEqual(entries(State(2, 99, None, 4),
                                 State(1, 17, None, None)), '-')
        self.assertEqual(entries(State(2, 99, 4, None),
                                 State(1, 17, None, None)), '-')

    def test_instructions(self) -> None:
        self.assertEqual(instructions(7_640_000, None), '7.6 M')
        self.assertEqual(instructions(17_000_000, 8_000_000),
                         '17.0 M, +9.0 M, 2.125x')

    def test_latency(self) -> None:
        figures = Figures(latencies=[
            Latency('query-status', 'idle', 2.04, 9.0, [2.04, 9.0, 1.0]),
            Latency('query-status', 'busy', 900.0, 1234.56, [900.0])])
        self.assertEqual(latency(figures, 'query-status', 'idle'),
                         '2.0, 9.0 (3)')
        self.assertEqual(latency(figures, 'query-status', 'busy'),
                         '900.0, 1234.6 (1)')
        self.assertEqual(latency(figures, 'query-guest-memfd', 'idle'), '-')

    def test_pace(self) -> None:
        self.assertEqual(pace(120.4, 7), '7 in 120 s')


class TableTest(unittest.TestCase):

    def test_runs_are_unique(self) -> None:
        runs = row('instructions', ('type1', 'iommufd')).runs()
        self.assertEqual(len(runs), len(set(runs)))
        # Three without a device, four for each backend
        self.assertEqual(len(runs), 3 + 2 * 4)
        self.assertTrue(all(isinstance(run, Run) and run.icount
                            for run in runs))

    def test_instructions_of_linux(self) -> None:
        rows = row('linux-io', ('type1', 'iommufd'))
        runs = rows.runs()
        self.assertEqual(len(runs), 4)
        self.assertTrue(all(isinstance(run, LinuxCost) and run.icount
                            for run in runs))
        medians = {GuestMemory.ORDINARY: 2000, GuestMemory.PRIVATE: 3000}
        outcomes: Outcomes = {run: Outcome(Figures(io=[
            IoFigures(name, depth, medians[run.memory] + depth, ())
            for name in ('read', 'echo') for depth in (1, 8)]))
            for run in runs if isinstance(run, LinuxCost)}
        cells = {line.label: line.cell(outcomes) for line in rows.lines}
        self.assertEqual(len(cells), 2 * 2 * 2 * 2)
        self.assertEqual(
            cells['4 KiB read, 1 at once; type1, no private memory'], '2001')
        self.assertEqual(
            cells['4 KiB read, 1 at once; type1, private memory'],
            '3001, +1000, 1.500x')
        self.assertEqual(
            cells['packet, 8 at once; iommufd, private memory'],
            '3008, +1000, 1.498x')

    def test_linux_after_booting(self) -> None:
        rows = row('linux')
        private = LinuxCost('type1', GuestMemory.PRIVATE)
        ordinary = LinuxCost('type1', GuestMemory.ORDINARY)
        self.assertEqual(set(rows.runs()), {private, ordinary})
        outcomes: Outcomes = {
            private: Outcome(Figures(boot=BootFigures(
                12, 13, 1, 64 << 20, 65 << 20, 5 << 20))),
            ordinary: outcome(failure='does not start: why')}
        self.assertEqual(
            [line.cell(outcomes) for line in rows.lines
             if private in line.runs], ['12', '13', '64.0 MiB', '5.0 MiB'])
        self.assertEqual(
            {line.cell(outcomes) for line in rows.lines
             if ordinary in line.runs}, {'does not start: why'})

    def test_programs_are_valid(self) -> None:
        for line in all_rows():
            for run in line.runs():
                if not isinstance(run, Run):
                    continue
                with self.subTest(run=str(run)):
                    path = find_program(run.program)
                    program = compile_program(path.read_text('utf-8'),
                                              str(path))
                    if not line.is_long:
                        check_program(program, run.backend)

    def test_survived_failures(self) -> None:
        line = row('failures').lines[0]
        outcomes: Outcomes = {line.runs[0]: Outcome(
            Figures(failed_calls=7, survived_calls=6))}
        self.assertEqual(line.cell(outcomes), '6 of 7')

    def test_other_entries_are_subtracted(self) -> None:
        line = next(line for line in row('entries').lines
                    if 'before bus mastering' in line.label)
        outcomes: Outcomes = {
            Run('share-64m-4k-early', 'type1', unlimited=True): outcome(
                [State(1, 17, 0, 0), State(2, 99, 12, 0)]),
            Run('share-64m-4k', 'type1', unlimited=True): outcome(
                [State(1, 17, 2, 0), State(2, 99, 5000, 0)])}
        self.assertEqual(line.cell(outcomes), '10')

    def test_instructions_without_a_device(self) -> None:
        lines = row('instructions').lines
        outcomes: Outcomes = {run: outcome(ticks=2_000_000) for line in lines
                              for run in line.runs if run.backend == 'none'}
        outcomes[Run('share-64m-one', 'type1', True, unlimited=True)] = \
            outcome(ticks=3_000_000)
        self.assertEqual(lines[0].cell(outcomes), '2.0 M')
        self.assertEqual(lines[1].cell(outcomes), '3.0 M, +1.0 M, 1.500x')

    def test_pam_with_and_without_a_device(self) -> None:
        lines = row('pam').lines
        self.assertEqual([line.runs[0].backend for line in lines],
                         ['none', 'type1'] * 2)
        self.assertTrue(all(isinstance(run, Run) and run.icount
                            for run in row('pam').runs()))
        outcomes: Outcomes = {
            Run('pam-pages', 'none', True): outcome(ticks=2_000_000),
            Run('pam-pages', 'type1', True): outcome(ticks=3_000_000)}
        self.assertEqual(lines[2].cell(outcomes), '2.0 M')
        self.assertEqual(lines[3].cell(outcomes), '3.0 M, +1.0 M, 1.500x')

    def test_stalls(self) -> None:
        lines = row('stalls').lines
        figures = Figures(
            latencies=[Latency('query-status', 'busy', 1.0, 2.0, [1.0, 2.0])],
            load=Load(60.0, 99, 12))
        outcomes: Outcomes = {run: Outcome(figures) for line in lines
                              for run in line.runs}
        self.assertEqual(
            {line.label: line.cell(outcomes) for line in lines
             if line.label.endswith('type1')},
            {'query-status, idle; type1': '-',
             'query-status, conversions; type1': '1.0, 2.0 (2)',
             'query-status, conversions and PAM; type1': '1.0, 2.0 (2)',
             'query-guest-memfd, idle; type1': '-',
             'query-guest-memfd, conversions; type1': '-',
             'query-guest-memfd, conversions and PAM; type1': '-',
             'x-query-vfio-dma, idle; type1': '-',
             'x-query-vfio-dma, conversions; type1': '-',
             'x-query-vfio-dma, conversions and PAM; type1': '-',
             'conversions meanwhile; type1': '99 in 60 s',
             'conversions beside PAM; type1': '99 in 60 s',
             'times PAM was switched; type1': '12 in 60 s'})

    def test_stalls_of_a_failed_run(self) -> None:
        lines = row('stalls').lines
        outcomes: Outcomes = {
            run: outcome(failure='breaks off: why')
            if isinstance(run, Run) and run.program.endswith('pam')
            else outcome() for line in lines for run in line.runs}
        self.assertEqual({line.label for line in lines
                          if line.cell(outcomes) == 'breaks off: why'},
                         {line.label for line in lines
                          if 'PAM' in line.label})

    def test_table_of_three_qemus(self) -> None:
        run = Run('share-2g', 'type1')
        states = [State(1, 9, 1018, 1020)]
        table = format_table([row('guest-2g')], {
            'ours': {run: outcome(states)},
            'other': {run: outcome(failure='does not start: too old')},
            'third': {run: outcome([State(1, 9, None, 65000)])}})
        self.assertEqual(table.splitlines(), [
            '                                         '
            '| ours | other              | third',
            '2 GiB guest, host with its default limit of entries, one request',
            '  starts, shares all, DMA arrives; type1 '
            '| yes  | does not start [1] | yes',
            '  IOMMU entries; type1                   '
            '| 1018 | does not start [1] | 65000*',
            '',
            MAP_EVENTS_NOTE,
            '',
            '[1] does not start: too old'])

    def test_table_without_notes(self) -> None:
        run = Run('share-2g', 'type1')
        table = format_table([row('guest-2g')], {
            'ours': {run: outcome([State(1, 9, 1018, 1020)])}})
        self.assertEqual(len(table.splitlines()), 4)
