# SPDX-License-Identifier: GPL-2.0-or-later

"""QEMU's monitor reports shared memory and DMA to it.

At each sync, queries are compared with the memory that the program has shared
and with the kernel's mappings. Failed conversions must be reported by events,
at a limited rate. Without private memory or devices, the queries return empty
lists.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from harness.checks import Checks
from harness.intervals import IntervalSet
from harness.l1 import L1Machine
from harness.l2 import L2Error, L2Machine
from harness.program import MIB, PAGE_SIZE, Program, compile_program
from harness.program_run import Options, ProgramRun
from harness.session import Machines
from harness.wire import CONSTANTS

EVENT = 'GUEST_MEMFD_CONVERSION_FAILED'

_BAR = (CONSTANTS['EDU_BAR_BASE'],
        CONSTANTS['EDU_BAR_BASE'] + CONSTANTS['EDU_BAR_SIZE'])

_MAX_RANGES = 4096
_COLUMNS = 80

_LOOK = '''
memory 256M
disturbs splits
let AREA = 64M
share AREA 8M
sync
master on
sync
unshare AREA+1M 64K
share AREA+32M 4K
share AREA+33M 12K
share AREA+48M 4M
sync
unshare AREA+32M 16M
master off
sync
'''

_FAILURES = 400
# The monitor limits events to one a second
_EVENT_INTERVAL = 2
_LIMIT = f'''
memory 256M
dma-entry-limit 150
shared-dma-extent page
let AREA = 64M
master on
sync
repeat {_FAILURES}
    share AREA 4M expect ENOSPC
end
sync
share AREA 4M expect ENOSPC
sync
'''

_TIMEOUT = 900.0


def _ranges(items: list[dict[str, int]], start: str) -> IntervalSet:
    return IntervalSet((item[start], item[start] + item['size'])
                       for item in items)


def _all_pages(l2: L2Machine, query: str, what: str, start: str,
               window: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Yield each object, with its ranges in a window from several queries."""
    for index, whole in enumerate(l2.execute(query, {'ranges': window})):
        items: list[dict[str, int]] = []
        at, end = window.get('start', 0), 1 << 50
        if 'size' in window:
            end = at + window['size']
        more = True
        while more:
            answer = l2.execute(query, {'ranges': {
                'start': at, 'size': end - at, 'max': 2}})[index]['window']
            if len(answer[what]) > 2 or answer['more'] and not answer[what]:
                raise L2Error(f'{query} exceeds "max": {answer}')
            items += answer[what]
            more = answer['more']
            if items:
                at = items[-1][start] + items[-1]['size']
        yield {**whole, 'pieces': items}


class Look(ProgramRun):
    """A run that checks the monitor's queries at each sync."""

    def check(self, good: bool, line: int, text: str, details: object = ''
              ) -> None:
        self.checks.check(good, f'line {line}: {text}', str(details))

    def _look_at_blocks(self, l2: L2Machine, line: int) -> None:
        shared = self.oracle.shared
        found = IntervalSet()
        for block in _all_pages(l2, 'query-guest-memfd', 'ranges', 'offset',
                                {}):
            ranges = _ranges(block['window']['ranges'], 'offset')
            self.check(
                ranges == _ranges(block['pieces'], 'offset') and
                len(ranges) == block['shared-runs'] and
                ranges.total() == block['shared-size'] and
                block['size'] == block['shared-size'] + block['private-size']
                and not block['window']['more'],
                line, f'{block["id"]}: {len(ranges)} ranges, with one query '
                'or several', block)
            for section in block['sections']:
                for start, end in ranges.clipped(
                        section['offset'],
                        section['offset'] + section['size']):
                    delta = section['gpa'] - section['offset']
                    found.add(start + delta, end + delta)
            self._look_at_cells(l2, line, block, ranges)
        self.check(found == shared, line, 'the ranges of all blocks are the '
                   'shared memory', f'{found}\nexpected: {shared}')

    def _look_at_cells(self, l2: L2Machine, line: int, block: dict[str, Any],
                       ranges: IntervalSet) -> None:
        start = PAGE_SIZE
        window = l2.execute('query-guest-memfd', {
            'id': block['id'],
            'ranges': {'start': start, 'cells': 7}})[0]['window']
        size = window['cell-size']
        expected = [IntervalSet(ranges.clipped(at, at + size)).total()
                    for at in range(start, block['size'], size)]
        self.check(window['cells'] == expected and len(expected) <= 7 and
                   window['size'] == block['size'] - start, line,
                   f'{block["id"]}: {len(expected)} cells', window)

    def _look_at_container(self, l2: L2Machine, line: int) -> None:
        kernel = self.replay.maps.mapped()
        kernel.remove(*_BAR)
        containers = list(_all_pages(l2, 'x-query-vfio-dma', 'extents', 'iova',
                                     {}))
        if len(containers) != 1:
            self.check(False, line, 'there is one container', containers)
            return
        info = containers[0]
        extents = info['window']['extents']
        mapped = [extent for extent in extents if extent['mapped']]
        sizes = [extent['size'] for extent in extents]
        master = self.oracle.master
        self.check(
            _ranges(mapped, 'iova') == kernel and
            info['mapped-size'] == kernel.total() and
            info['mapped-extents'] == len(mapped), line,
            f'{len(mapped)} extents are mapped, and the kernel maps the same',
            f'{info}\nkernel: {kernel}')
        self.check(
            _ranges(extents, 'iova') == self.oracle.shared and
            info['pieces'] == extents and info['extents'] == len(extents) and
            info['populated-size'] == sum(sizes) and
            info['largest-extent'] == max(sizes) and
            info['smallest-extent'] == min(sizes), line,
            f'all {len(extents)} extents are the shared memory, with one '
            'query or several', info)
        by_size: dict[int, int] = {}
        for size in sizes:
            order = 1 << size.bit_length() - 1
            by_size[order] = by_size.get(order, 0) + 1
        told = [(count['size'], count['extents'])
                for count in info['extents-by-size']]
        self.check(told == sorted(by_size.items()), line,
                   'extents by size are counted correctly', info)
        backend = self.figures.backend
        device = info['devices'][0]
        self.check(
            info['backend'] == backend and info['open'] == master and
            device['id'] == 'edu0' and device['may-do-dma'] == master and
            device['name'] == self.figures.device and
            info['cutting'] == (backend == 'iommufd') and
            ('budget' in info) == (not info['cutting']), line,
            'backend, device and gate are correct', info)
        self._look_at_extent_cells(l2, line, extents)

    def _look_at_extent_cells(self, l2: L2Machine, line: int,
                              extents: list[dict[str, int]]) -> None:
        start, end = 64 * MIB, 128 * MIB
        window = l2.execute('x-query-vfio-dma', {'ranges': {
            'start': start, 'size': end - start, 'cells': 64,
            'max': 1}})[0]['window']
        expected = [next(({'size': extent['size'],
                           'mapped': extent['mapped']} for extent in extents
                          if extent['iova'] < at + MIB and
                          extent['iova'] + extent['size'] > at),
                         {'size': 0, 'mapped': False})
                    for at in range(start, end, MIB)]
        self.check(window['cells'] == expected, line, '64 cells of extents',
                   window)

    def _try_bad_arguments(self, l2: L2Machine, line: int) -> None:
        for query, arguments in (
                ('query-guest-memfd', {'id': 'nothing'}),
                ('x-query-vfio-dma', {'qom-path': '/machine'}),
                ('x-query-vfio-dma', {'qom-path': '/nothing'})):
            self._expect_error(l2, line, query, arguments)
        for window in ({'start': 1}, {'size': PAGE_SIZE + 1}, {'max': 0},
                       {'max': _MAX_RANGES + 1}, {'cells': 0},
                       {'cells': _MAX_RANGES + 1}):
            for query in 'query-guest-memfd', 'x-query-vfio-dma':
                self._expect_error(l2, line, query, {'ranges': window})
        for query in 'query-guest-memfd', 'x-query-vfio-dma':
            # The end of the address space
            answer = l2.execute(query, {'ranges': {
                'start': (1 << 64) - PAGE_SIZE, 'cells': _MAX_RANGES}})
            self.check(all(not info['window']['cells'] and
                           not info['window']['more'] for info in answer),
                       line, f'{query}: there is nothing after the end',
                       answer)

    def _expect_error(self, l2: L2Machine, line: int, query: str,
                      arguments: Mapping[str, object]) -> None:
        try:
            answer = l2.execute(query, arguments)
        except L2Error as error:
            self.check(True, line, str(error))
        else:
            self.check(False, line, f'{query} {arguments} is an error',
                       answer)

    def _look_at_info(self, l2: L2Machine, line: int) -> None:
        for command, words in (
                ('info guest-memfd', ('shared', 'made private')),
                ('info vfio-dma', ('edu0', 'extents', 'by size'))):
            text = l2.execute('human-monitor-command',
                              {'command-line': command})
            lines = text.splitlines()
            self.check(all(word in text for word in words) and
                       max(map(len, lines)) <= _COLUMNS, line,
                       f'"{command}" fits on {_COLUMNS} columns', text)

    def at_sync(self, l1: L1Machine, l2: L2Machine, line: int) -> None:
        self._look_at_blocks(l2, line)
        self._look_at_container(l2, line)
        self._look_at_info(l2, line)
        if not self.figures.syncs:
            self._try_bad_arguments(l2, line)


class Limit(Look):
    """A run of a guest that exceeds the limit of entries."""

    def __init__(self, program: Program, options: Options, checks: Checks
                 ) -> None:
        super().__init__(program, options, checks)
        self._events: list[dict[str, Any]] = []

    def at_sync(self, l1: L1Machine, l2: L2Machine, line: int) -> None:
        self._events += l2.events(EVENT)
        events = self._events
        block = max(l2.execute('query-guest-memfd'),
                    key=lambda info: info['size'])
        if not self.figures.syncs:
            self.check(not events and 'last-failure' not in block, line,
                       'nothing has failed so far', f'{events}\n{block}')
            return
        want: dict[str, object] = {
            'gpa': 64 * MIB, 'size': 4 * MIB, 'to-private': False,
            'error': 'No space left on device', 'failures': 1}
        self.check(bool(events) and events[0] == want, line,
                   'the first failure is reported', events)
        counts = [event['failures'] for event in events]
        told = max(counts, default=0)
        is_last = self.figures.syncs == 2
        self.check(
            0 < len(events) < _FAILURES and counts == sorted(set(counts)) and
            told <= _FAILURES + is_last and
            (told == _FAILURES + 1 or not is_last), line,
            f'{len(events)} events report {told} failures', events)
        if not is_last:
            # After this time the next failure is reported
            time.sleep(_EVENT_INTERVAL)
        self.check(block.get('last-failure') == {
            'offset': 64 * MIB, 'size': 4 * MIB, 'to-private': False,
            'error': 'No space left on device'} and
            block['failures'] >= _FAILURES, line,
            'the block has the last failure', block)
        budget = l2.execute('x-query-vfio-dma')[0]['budget']
        self.check(0 < budget['limit'] <= 150 and
                   budget['left'] <= budget['limit'], line,
                   "the budget equals the kernel's", budget)
        self._look_at_info(l2, line)


def test_queries(machines: Machines, backend: str, checks: Checks) -> None:
    machines.play(Look(compile_program(_LOOK, 'look'),
                       machines.options(backend, _TIMEOUT), checks))


def test_failures(machines: Machines, checks: Checks) -> None:
    """Only type1 has a limit of entries."""
    program = compile_program(_LIMIT, 'limit')
    machines.play(Limit(program, machines.options(
        'type1', _TIMEOUT, program.machine.dma_entry_limit), checks))


@pytest.mark.parametrize('machine', ('none', 'q35'))
def test_without_anything(machine: str, machines: Machines, checks: Checks
                          ) -> None:
    """A machine without private memory, VFIO devices and KVM."""
    built = machines.built
    commands: list[dict[str, Any]] = [
        {'execute': 'qmp_capabilities'}, {'execute': 'query-guest-memfd'},
        {'execute': 'x-query-vfio-dma'},
        {'execute': 'query-guest-memfd',
         'arguments': {'ranges': {'cells': 4}}},
        *({'execute': 'human-monitor-command',
           'arguments': {'command-line': f'info {name}'}}
          for name in ('guest-memfd', 'vfio-dma')),
        {'execute': 'quit'}]
    result = subprocess.run(
        [built.guest_qemu, '-accel', 'tcg', '-M', machine, '-nodefaults', '-S',
         '-no-user-config', '-display', 'none', '-bios', built.firmware,
         '-qmp', 'stdio'], input='\n'.join(map(json.dumps, commands)),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False, timeout=300)
    answers = [json.loads(line).get('return')
               for line in result.stdout.splitlines() if '"return"' in line]
    checks.check(result.returncode == 0 and answers == [
        {}, [], [], [], 'No RAM block has a guest_memfd.\r\n',
        'There is no VFIO container.\r\n', {}],
        f'-accel tcg -M {machine}: nothing is shared, and nothing mapped',
        f'{result.stdout}')
