# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of measuring the monitor's response times."""

import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from harness import stalls
from harness.checks import Checks
from harness.figures import Latency, Load
from harness.l2 import L2Error
from harness.oracle import Event
from harness.program import compile_program
from harness.program_run import Options
from harness.stalls import BUSY, IDLE, StallsRun, sum_up, summarize

PROGRAM = '''
sync
parallel 5
    share 32M+cpu*1M 1M
end
'''


class Clock:
    """A clock that advances only when an operation takes time."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Guest:
    """A fake of the level 2 machine and its serial line."""

    def __init__(self, clock: Clock, commands: dict[str, float]) -> None:
        self._clock = clock
        self._commands = commands
        self._asked = 0
        self.answers_left = 1 << 30
        self.serial = self
        self.status = 'running'
        self.line: str | None = None

    def execute(self, name: str, arguments: object = None) -> Any:
        if not self.answers_left:
            raise L2Error(name)
        self.answers_left -= 1
        if name == 'query-commands':
            return [{'name': each} for each in self._commands]
        if name == 'query-stats':
            self._asked += 1
            return [{'stats': [{'name': 'hypercalls',
                                'value': 100 + 7 * self._asked},
                               {'name': 'io_exits',
                                'value': 100 + 30 * self._asked}]}]
        self._clock.now += self._commands[name]
        return {'status': self.status}

    def read_line(self, timeout: float) -> str | None:
        return self.line


class SummaryTest(unittest.TestCase):

    def test_median_and_longest(self) -> None:
        self.assertEqual(
            summarize('query-status', IDLE, [0.5, 0.001, 0.002]),
            Latency('query-status', IDLE, 2.0, 500.0, [500.0, 1.0, 2.0]))

    def test_median_of_even_count(self) -> None:
        self.assertEqual(summarize('x', BUSY, [0.004, 0.001]).median, 2.5)

    def test_statistics_are_summed_over_vcpus(self) -> None:
        self.assertEqual(
            sum_up([{'stats': [{'name': 'hypercalls', 'value': 1},
                               {'name': 'io_exits', 'value': 10}]},
                    {'stats': [{'name': 'hypercalls', 'value': 2},
                               {'name': 'io_exits', 'value': 20}]}]),
            {'hypercalls': 3, 'io_exits': 30})


class TimingTest(unittest.TestCase):

    def setUp(self) -> None:
        self.clock = Clock()
        self.enterContext(mock.patch.object(stalls, 'time', self.clock))
        program = compile_program(PROGRAM, 'test')
        self.bench = StallsRun(program, Options(
            'type1', False, 60, 0, Path(), False), Checks())
        self.parallel = Event('ok', program.records[1])

    def play_block(self, guest: Any) -> None:
        self.bench._expect(guest, self.parallel)

    def test_unsupported_commands_are_skipped(self) -> None:
        guest: Any = Guest(self.clock, {'query-status': 0.125, 'quit': 1})
        self.bench.at_sync(mock.Mock(), guest, 1)
        latency, = self.bench.figures.latencies
        self.assertEqual((latency.command, latency.phase),
                         ('query-status', IDLE))
        self.assertEqual((latency.median, latency.longest), (125.0, 125.0))

    def test_time_limit_ends_sampling(self) -> None:
        guest: Any = Guest(self.clock, {'query-status': 7.0,
                                        'query-guest-memfd': 4.0})
        self.bench.at_sync(mock.Mock(), guest, 1)
        self.assertEqual([len(latency.times) for latency
                          in self.bench.figures.latencies], [2, 2])

    def test_latencies_before_a_stall_are_kept(self) -> None:
        guest: Any = Guest(self.clock, {'query-status': 0.25,
                                        'query-guest-memfd': 0.25})
        guest.answers_left = 4
        with self.assertRaises(L2Error):
            self.bench.at_sync(mock.Mock(), guest, 1)
        self.assertEqual([len(latency.times) for latency
                          in self.bench.figures.latencies], [2, 1])

    def test_load_is_counted(self) -> None:
        guest: Any = Guest(self.clock, {'query-status': 40.0})
        with self.assertRaises(stalls._MeasuredAll):
            self.play_block(guest)
        self.assertEqual([latency.phase for latency
                          in self.bench.figures.latencies], [BUSY])
        self.assertEqual(self.bench.figures.load, Load(80.0, 7, 5))

    def test_guest_ends_early(self) -> None:
        guest: Any = Guest(self.clock, {'query-status': 60.0})
        guest.line = 'ok 3 failures=0'
        with self.assertRaisesRegex(L2Error, 'sends "ok 3 failures=0"'):
            self.play_block(guest)

    def test_guest_stops(self) -> None:
        guest: Any = Guest(self.clock, {'query-status': 60.0})
        guest.status = 'internal-error'
        with self.assertRaisesRegex(L2Error, 'internal-error'):
            self.play_block(guest)

    def test_kernel_edge_is_not_watched(self) -> None:
        self.assertFalse(self.bench._watches_edge)
