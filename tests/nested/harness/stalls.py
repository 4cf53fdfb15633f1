# SPDX-License-Identifier: GPL-2.0-or-later

"""Measure the response times of QEMU's monitor while the guest works.

Times are taken on this machine: a process in the level 1 machine would compete
with QEMU for its two processors. They include the virtio port, whose latency
the figures of an idle guest show.
"""

import time
from statistics import median
from typing import Any

from harness.figures import Latency, Load
from harness.l1 import L1Machine
from harness.l2 import L2Error, L2Machine
from harness.oracle import Event
from harness.program_run import ProgramRun

COMMANDS = ('query-status', 'query-guest-memfd', 'x-query-vfio-dma')
IDLE = 'idle'
BUSY = 'busy'

# Duration of each measurement in seconds
_SECONDS = {IDLE: 20.0, BUSY: 60.0}
# Pause between two commands, in which QEMU does other work
_PAUSE = 0.01
# Timeout of measured commands
_ANSWER_TIMEOUT = 120.0

# The firmware writes three registers to switch PAM, by an address port and a
# data port.
_WRITES_PER_TOGGLE = 6


def summarize(command: str, phase: str, seconds: list[float]) -> Latency:
    """Summarize the response times of a command."""
    times = [round(each * 1000, 3) for each in seconds]
    return Latency(command, phase, round(median(times), 3), max(times), times)


def sum_up(statistics: list[dict[str, Any]]) -> dict[str, int]:
    """Sum up the results of query-stats over all vCPUs."""
    sums: dict[str, int] = {}
    for vcpu in statistics:
        for each in vcpu['stats']:
            sums[each['name']] = sums.get(each['name'], 0) + each['value']
    return sums


class _MeasuredAll(Exception):
    """Raised when everything was measured, to end the guest."""


class StallsRun(ProgramRun):
    """Measures the monitor while the guest waits, and in a parallel block."""

    # Tracing each mapping would change the measured times
    follows_kernel = False

    def _commands(self, l2: L2Machine) -> list[str]:
        """Return the measured commands that this QEMU has."""
        known = {command['name'] for command in l2.execute('query-commands')}
        return [command for command in COMMANDS if command in known]

    def _time(self, l2: L2Machine, phase: str) -> None:
        """Execute the commands in turns, with pauses."""
        times: dict[str, list[float]] = {
            command: [] for command in self._commands(l2)}
        end = time.monotonic() + _SECONDS[phase]
        try:
            while time.monotonic() < end:
                for command, taken in times.items():
                    time.sleep(_PAUSE)
                    begin = time.monotonic()
                    l2.execute(command)
                    taken.append(time.monotonic() - begin)
        finally:
            # Keep the times before the monitor stopped answering
            self.figures.latencies += [summarize(command, phase, taken)
                                       for command, taken in times.items()
                                       if taken]

    def _counts(self, l2: L2Machine) -> dict[str, int]:
        return sum_up(l2.execute('query-stats', {
            'target': 'vcpu', 'providers': [{
                'provider': 'kvm', 'names': ['hypercalls', 'io_exits']}]}))

    def _time_load(self, l2: L2Machine) -> None:
        before = self._counts(l2)
        begin = time.monotonic()
        self._time(l2, BUSY)
        after = self._counts(l2)
        self.figures.load = Load(
            round(time.monotonic() - begin, 1),
            after['hypercalls'] - before['hypercalls'],
            (after['io_exits'] - before['io_exits']) // _WRITES_PER_TOGGLE)
        status = l2.execute('query-status')['status']
        if status != 'running':
            raise L2Error(f'the guest is not running, but "{status}"')
        said = l2.serial.read_line(0)
        if said is not None:
            raise L2Error('the guest must convert memory until the end, but '
                          f'sends "{said}"')

    def _expect(self, l2: L2Machine, event: Event) -> list[str]:
        if event.word == 'ok' and event.record.op == 'parallel':
            self._time_load(l2)
            raise _MeasuredAll
        return super()._expect(l2, event)

    def at_sync(self, l1: L1Machine, l2: L2Machine, line: int) -> None:
        self._time(l2, IDLE)

    def _play(self, l1: L1Machine, l2: L2Machine) -> None:
        l2.set_timeout(_ANSWER_TIMEOUT)
        try:
            super()._play(l1, l2)
        except _MeasuredAll:
            pass
