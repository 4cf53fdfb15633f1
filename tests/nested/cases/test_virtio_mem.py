# SPDX-License-Identifier: GPL-2.0-or-later

"""Private memory that virtio-mem unplugs is given back to the host.

A guest plugs memory, uses it as private and as shared memory, and unplugs it,
repeatedly. The kernel's memory for it must be the same each time.
"""

from dataclasses import dataclass

import pytest

from harness.checks import Checks
from harness.l1 import L1Machine
from harness.l2 import L2Machine
from harness.program import MIB, compile_program
from harness.program_run import ProgramRun
from harness.session import Machines
from harness.usage import Usage, check_steady, measure

ROUNDS = 4
# The states of a round
STATES = 4

_PROGRAM = '''
memory 64M
backing {backing}
virtio-mem 256M block 2M private {properties}
master on
repeat {rounds}
    sync
    plug VMEM+i*32M 32M
    fill VMEM+i*32M {touched} seed 1
    sync
    share VMEM+i*32M 16M
    fill VMEM+i*32M 16M seed 2
    sync
    unplug VMEM+i*32M+2M 4M
    unplug VMEM+i*32M 2M
    unplug VMEM+i*32M+6M 26M
    sync
end
'''

# KVM needs an attribute for each private page, even if nobody uses it.
_ATTRIBUTES_MIB = 4096
_ATTRIBUTES_PROGRAM = f'''
memory 64M
virtio-mem {_ATTRIBUTES_MIB}M block 2M private
sync
plug VMEM {_ATTRIBUTES_MIB}M
sync
unplug-all
sync
'''
_ATTRIBUTE_SIZE = 8

# Tolerated differences of memory that other parts of the machine use, too
_SLACK = 2 * MIB
_OWN = 6 * MIB


@dataclass(frozen=True)
class Run:
    """The kind of memory, the counter of shared memory, and the backend."""

    backing: str
    counted: str
    backend: str
    properties: str = ''


RUNS = {
    'ram': Run('ram', 'anonymous', 'type1'),
    'memfd': Run('memfd', 'shmem', 'iommufd'),
    'memfd-slots': Run('memfd', 'shmem', 'type1', 'dynamic-memslots'),
    'hugetlb': Run('hugetlb', 'huge', 'iommufd'),
    'prealloc': Run('ram', 'anonymous', 'iommufd', 'prealloc'),
}


class Usages(ProgramRun):
    """A run that measures memory at each sync."""

    usages: list[Usage]

    def prepare(self, l1: L1Machine, l2: L2Machine) -> None:
        self.usages = []

    def at_sync(self, l1: L1Machine, l2: L2Machine, line: int) -> None:
        self.usages.append(measure(l1))


@pytest.mark.parametrize('name', RUNS)
def test_memory(name: str, machines: Machines, checks: Checks) -> None:
    run = RUNS[name]
    touched = '64K' if run.properties == 'prealloc' else '32M'
    usages = Usages(compile_program(_PROGRAM.format(
        backing=run.backing, properties=run.properties, rounds=ROUNDS,
        touched=touched), name), machines.options(run.backend, 600), checks)
    machines.play(usages)
    if not checks.check(len(usages.usages) == ROUNDS * STATES,
                        f'{name}: the guest makes {ROUNDS} rounds'):
        return
    unplugged, private, shared, given_back = (
        usages.usages[i::STATES] for i in range(STATES))
    first = unplugged[0]
    states = (('unplugged', unplugged + given_back, 0, 0),
              ('plugged', private, 32 * MIB, 0),
              ('half shared', shared, 16 * MIB, 16 * MIB))
    slack = 0 if run.backing == 'hugetlb' else _OWN
    for state, found, is_private, is_shared in states:
        check_steady(checks, f'{name}: guest_memfd, {state}', found,
                     'guest_memfd', first.guest_memfd + is_private)
        check_steady(checks, f'{name}: {run.counted} memory, {state}', found,
                     run.counted, getattr(first, run.counted) + is_shared,
                     slack)
        check_steady(checks, f'{name}: pinned memory, {state}', found,
                     'pinned', first.pinned + is_shared)


def test_attributes(machines: Machines, checks: Checks) -> None:
    usages = Usages(compile_program(_ATTRIBUTES_PROGRAM, 'attributes'),
                    machines.options('none', 600), checks)
    machines.play(usages)
    before, plugged, after = (usage.kernel for usage in usages.usages)
    size = (_ATTRIBUTES_MIB << 8) * _ATTRIBUTE_SIZE
    checks.check(
        plugged - before >= size, 'attributes of plugged memory take '
        f'at least {size >> 10} KiB', f'{(plugged - before) >> 10} KiB')
    checks.check(
        after - before <= _SLACK, 'attributes are given back: '
        f'{(after - before) >> 10} KiB more than before plugging '
        f'(plugged: {(plugged - before) >> 10} KiB)')
