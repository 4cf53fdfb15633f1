# SPDX-License-Identifier: GPL-2.0-or-later

"""Memory that a guest flips between private and shared is freed each time.

A guest accesses all its memory in each state, repeatedly. The kernel's memory
for it must depend only on the state, not on the number of conversions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import pytest

from harness.checks import Checks
from harness.l1 import L1Machine
from harness.l2 import L2Machine
from harness.program import MIB, Program, compile_program
from harness.program_run import Options, ProgramRun
from harness.session import Machines
from harness.usage import Usage, check_steady, measure

FLIPS = 10
# Size of the memory that is flipped each time
SIZE_MIB = 16


@dataclass(frozen=True)
class Run:
    """The kind of memory and the backend of a run."""

    backing: str
    backend: str
    options: tuple[str, ...] = ()


_LOCKED = ('-overcommit', 'mem-lock=on-fault')

RUNS = {'ram': Run('ram', 'type1'), 'memfd': Run('memfd', 'iommufd'),
        'memfd-private': Run('memfd-private', 'iommufd'),
        'ram-shared': Run('ram-shared', 'type1'),
        'hugetlb': Run('hugetlb', 'iommufd'),
        'ram-locked': Run('ram', 'type1', _LOCKED),
        'memfd-locked': Run('memfd', 'type1', _LOCKED)}

# The counters of shared memory
_COUNTED = {'ram': 'anonymous', 'ram-shared': 'shmem', 'memfd': 'shmem',
            'memfd-private': 'anonymous', 'hugetlb': 'huge'}

# The counters of pages of a file that stay behind their copies
_BEHIND = {'memfd-private': 'shmem'}

# Tolerated growth of QEMU's own memory with the first flip, and differences of
# counters from flip to flip
_OWN = 6 * MIB
_SLACK = 2 * MIB

# Tolerated growth of memory in level 1 per flip, which is less than the size
# of each conversion
_PER_FLIP = MIB // 4

# Half of the flips are in chunks of 2M, half in one request. Each flip
# converts another part page by page.
_FLIP = '''
    share AREA+{first}*1M+i*1M 512K chunk 4K
    share AREA SIZE{chunk}
    fill AREA SIZE seed 2
    sync
    unshare AREA+{first}*1M+i*1M+256K 512K chunk 4K
    unshare AREA SIZE{chunk}
    fill AREA SIZE seed 3
    sync
'''
_PROGRAM = '''
memory 16M+{size}M
backing {backing}
disturbs splits
let AREA = 16M
let SIZE = {size}M
master on
fill AREA SIZE seed 1
sync
repeat {first}
{flip_2m}
end
repeat {rest}
{flip_whole}
end
'''


class Flips(ProgramRun):
    """A run that measures memory at each sync."""

    def __init__(self, program: Program, options: Options, checks: Checks,
                 qemu_options: Sequence[str]) -> None:
        super().__init__(program, options, checks)
        self._qemu_options = qemu_options
        self.before: Usage | None = None
        self.after: Usage | None = None
        self.private: list[Usage] = []
        self.shared: list[Usage] = []

    def prepare(self, l1: L1Machine, l2: L2Machine) -> None:
        self.before = measure(l1)

    def more_options(self) -> Sequence[str]:
        return self._qemu_options

    def at_sync(self, l1: L1Machine, l2: L2Machine, line: int) -> None:
        # States alternate, private first
        usages = self.private if len(self.private) == len(self.shared) \
            else self.shared
        usages.append(measure(l1))

    def at_end(self, l1: L1Machine, l2: L2Machine) -> None:
        self.after = measure(l1)


class Judge:
    """Checks the figures of a run."""

    def __init__(self, run: Flips, name: str, size: int, checks: Checks
                 ) -> None:
        self._run = run
        self._name = name
        self._size = size
        self._checks = checks

    def _steady(self, what: str, field: str, usages: list[Usage],
                expected: int, slack: int) -> None:
        check_steady(self._checks, f'{self._name}: {what}', usages, field,
                     expected, slack)

    def _no_growth(self, what: str, field: str, usages: list[Usage]) -> None:
        """Check that usage does not grow with each flip.

        A huge page may be allocated and freed with every second flip.
        """
        values = [getattr(usage, field) for usage in usages]
        growth = int(median(after - before for before, after in
                            zip(values, values[2:]))) // 2
        self._checks.check(
            growth <= _PER_FLIP,
            f'{self._name}: {what} does not grow with each flip: '
            f'{growth >> 10} KiB',
            'KiB: ' + ', '.join(str(value >> 10) for value in values))

    def _check_state(self, field: str, what: str, private: int, shared: int,
                     slack: int) -> None:
        self._steady(f'{what} whenever memory is private', field,
                     self._run.private[1:], private, slack)
        self._steady(f'{what} whenever memory is shared', field,
                     self._run.shared, shared, slack)

    def _check_backings(self) -> None:
        first = self._run.private[0]
        backing = self._run.program.machine.backing
        self._check_state('guest_memfd', 'guest_memfd', first.guest_memfd,
                          first.guest_memfd - self._size, 0)
        counted = _COUNTED[backing]
        base = getattr(first, counted)
        if backing == 'hugetlb':
            # Huge pages are kept and used again
            self._check_state('huge', 'huge pages', base + self._size,
                              base + self._size, 0)
        else:
            self._check_state(counted, f'{counted} memory', base,
                              base + self._size, _OWN)
            self._check_state('huge', 'huge pages', 0, 0, 0)
        if backing in _BEHIND:
            behind = _BEHIND[backing]
            base = getattr(first, behind)
            self._check_state(behind, f'{behind} memory behind the copies',
                              base, base + self._size, _OWN)

    def check(self) -> None:
        """Compare each state with that before the first flip."""
        run = self._run
        if len(run.private) != FLIPS + 1 or len(run.shared) != FLIPS or \
                not run.before or not run.after:
            self._checks.check(False, f'{self._name}: the guest makes {FLIPS} '
                               'flips')
            return
        self._check_backings()
        first = run.private[0]
        backing = run.program.machine.backing
        for field, what in (('pinned', 'pinned memory'),
                            ('locked', 'memory QEMU is charged for')):
            base = getattr(first, field)
            self._check_state(field, what, base, base + self._size, 0)
        self._check_state(
            'resident', "QEMU's resident memory", first.resident,
            first.resident + (0 if backing == 'hugetlb' else self._size),
            _OWN)
        for state, usages in (('private', run.private),
                              ('shared', run.shared)):
            self._no_growth(f'memory that is not free whenever memory is '
                            f'{state}', 'used', usages)
        for field in ('guest_memfd', 'huge', 'pinned'):
            self._steady(f'{field}, when QEMU has ended', field, [run.after],
                         getattr(run.before, field), 0)
        for field in ('anonymous', 'shmem'):
            self._steady(f'{field} memory, when QEMU has ended', field,
                         [run.after], getattr(run.before, field), _SLACK)


def make_program(backing: str, size_mib: int) -> Program:
    first = FLIPS // 2
    return compile_program(_PROGRAM.format(
        size=size_mib, backing=backing, first=first, rest=FLIPS - first,
        flip_2m=_FLIP.format(first=0, chunk=' chunk 2M'),
        flip_whole=_FLIP.format(first=first, chunk='')), backing)


@pytest.mark.parametrize('name', RUNS)
def test_flips(name: str, machines: Machines, checks: Checks) -> None:
    run = RUNS[name]
    flips = Flips(make_program(run.backing, SIZE_MIB), machines.options(
        run.backend, 600 + SIZE_MIB * 10), checks, run.options)
    machines.play(flips)
    Judge(flips, f'{name}, {run.backend}', SIZE_MIB * MIB, checks).check()
